package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"keepkey/internal/scene"
	"keepkey/page"
	"keepkey/pinset"
	"keepkey/plan"
	"keepkey/status"
)

// now is when somebody looks.
var now = time.Date(2026, 11, 30, 2, 47, 0, 0, time.UTC)

// scenes are what is shown, by name, each with some of what a person must find there.
func scenes() []shown {
	return []shown{
		{"healthy", view(healthy()...), []string{"All is well", "Keys can be switched now.", "6 certificates."}},
		{"closed", view(closed()...), []string{"All is well", "Keys can't be switched before", "closed until", "before a person acts", "keepkey channel retire"}},
		{"problems", problems(), []string{"Act now", "keepkey renew --name shop.example.com", "The server keeps", "not in force"}},
		{"many", many(), []string{"500 certificates", "Other certificates"}},
		{"first", view(scene.Begin(goal("api.example.com"), now, 1)), []string{"There is no certificate yet."}},
	}
}

type shown struct {
	name  string
	view  page.View
	texts []string
}

// goal is what is configured: an app that downloads its pins.
func goal(name string, channels ...plan.Channel) plan.Goal {
	g := plan.Goal{
		Name: name, Domains: []string{name}, CA: "https://acme-v02.api.letsencrypt.org/directory", KeyType: pinset.EC256, Backups: 1, KeepOldPin: 7 * scene.Day,
		Deploy: []string{"reload"}, Check: []string{name + ":443"}, Channels: channels,
	}
	if len(channels) == 0 {
		g.Channels = []plan.Channel{overTheAir(30)}
	}
	return g
}

func overTheAir(days int) plan.Channel {
	return plan.Channel{
		Name: "over-the-air", Clients: pinset.Clients{Lifetime: pinset.Lifetime{Duration: time.Duration(days) * scene.Day}}, Readable: true,
		Publish: []pinset.Place{{ID: "1f2e3d4c", Name: "/srv/pins/api.json"}},
	}
}

// app has its pins compiled in.
func app() plan.Channel {
	return plan.Channel{Name: "ios-app", Manual: true, Clients: pinset.Clients{Lifetime: pinset.Lifetime{Forever: true}}}
}

// lived is a lineage that began so many days ago.
func lived(g plan.Goal, days int, seed byte) *scene.World {
	w := scene.Begin(g, now.Add(-time.Duration(days)*scene.Day), seed)
	return w
}

// until lets time go by until so many days ago.
func until(w *scene.World, daysAgo int) *scene.World {
	w.Run(now.Add(-time.Duration(daysAgo) * scene.Day).Sub(w.In.Now))
	return w
}

func rotate(w *scene.World) *scene.World {
	w.Ask(plan.Action{Kind: plan.BeginRollover})
	return w
}

func healthy() []*scene.World {
	var all []*scene.World
	for i, name := range []string{"api.example.com", "login.example.com", "push.example.com", "shop.example.com", "tiles.maps.example.com", "www.example.com"} {
		g := goal(name)
		if i == 0 {
			g.RolloverEvery = 120 * scene.Day
		}
		if i == 1 {
			g = goal(name, overTheAir(14), app())
		}
		w := lived(g, 80+17*i, byte(i))
		if i == 2 {
			rotate(until(w, 70))
		}
		all = append(all, until(w, 0))
	}
	return all
}

func closed() []*scene.World {
	waits := rotate(until(lived(goal("api.example.com"), 60, 1), 9))
	person := lived(goal("login.example.com", overTheAir(14), app()), 200, 2)
	until(person, 60)
	confirm(person, 1)
	rotate(person)
	until(person, 50)
	confirm(person, 3)
	until(person, 1)
	asked := rotate(until(lived(goal("push.example.com"), 60, 3), 12))
	rotate(until(asked, 2))
	return []*scene.World{until(waits, 0), until(person, 0), until(asked, 0)}
}

// confirm says that a version is out in the shops.
func confirm(w *scene.World, version int) {
	w.Ask(plan.Action{Kind: plan.Confirm, Channel: "ios-app", Version: version})
}

func problems() page.View {
	shop := until(lived(goal("shop.example.com"), 70, 4), 10)
	shop.Break(plan.Failed{Text: `hook "systemctl reload nginx": it ended with exit status 1; its output ends with "nginx.service is not active, cannot reload."`}, kind(plan.Deploy))
	until(shop, 0)

	old := until(lived(goal("login.example.com"), 125, 5), 10)
	old.Break(plan.Failed{Code: plan.CAUnreachable, Text: `Get "https://acme-v02.api.letsencrypt.org/directory": dial tcp 172.65.32.248:443: i/o timeout`}, kind(plan.Obtain))
	until(old, 0)

	api := rotate(until(lived(goal("api.example.com"), 50, 6), 20))
	until(api, 12)
	api.In.Goal.Backups = 2
	api.Break(plan.Failed{Text: `hook "upload-pins": it ended with exit status 28; its output ends with "curl: (28) Operation timed out after 30001 milliseconds with 0 bytes received"`}, kind(plan.Publish))
	until(api, 0)

	push := until(lived(goal("push.example.com"), 45, 7), 1)
	push.Break(plan.Failed{Code: plan.ServedKeyUnknown, Text: "it serves a key with pin r/mIkG3eEpVdm+u/ko/cwxzOMo1bk4TyHIlByibiA5E=, which is none of this lineage's"}, func(a plan.Action) bool { return a.Kind == plan.Look && a.Target != "" })
	until(push, 0)

	tiles := until(lived(goal("tiles.example.com"), 45, 8), 0)
	tiles.In.Disk.LedgerProblem = &pinset.LedgerError{Line: 3, Reason: "does not follow the line before: one of the two was changed, or lines are missing"}

	lost := until(lived(goal("www.example.com"), 40, 9), 0)
	lost.In.Disk.KeyProblems = map[pinset.Pin]error{lost.In.State.Active().Pin: errors.New("key of www.example.com: /var/lib/keepkey/lineages/www.example.com/keys/5c1f….pem is missing")}

	v := view(shop, old, api, push, tiles, lost)
	v.ConfigProblem = `/etc/keepkey/config.yaml:14: unknown key "chanels"; did you mean "channels"?`
	return v
}

func kind(k plan.Kind) func(plan.Action) bool { return func(a plan.Action) bool { return a.Kind == k } }

// many are more than there is room for.
func many() page.View {
	var worlds []*scene.World
	for i := range 500 {
		if i < 10 {
			worlds = append(worlds, until(lived(goal("x"), 30+7*i, byte(i)), 0))
		} else {
			copied := *worlds[i%10]
			worlds = append(worlds, &copied)
		}
		worlds[i].In.Goal.Name = fmt.Sprintf("host-%03d.customers.example.com", i)
	}
	bad := until(lived(goal("broken.example.com"), 70, 77), 10)
	bad.Break(plan.Failed{Text: `hook "systemctl reload nginx": it ended with exit status 1`}, kind(plan.Deploy))
	worlds[0] = until(bad, 0)
	v := view(worlds...)
	for _, c := range v.Certificates[12:] {
		v.Others = append(v.Others, c.Brief())
	}
	v.Certificates = v.Certificates[:12]
	return v
}

// view is what the daemon would show: the worst first.
func view(worlds ...*scene.World) page.View {
	v := page.View{Now: now, Hostname: "web1.example.com", Version: "v1.0.0", Since: now.Add(-9 * scene.Day)}
	for _, w := range worlds {
		forecast := plan.Forecast(w.In)
		forecast.Notes = plan.Next(w.In).Notes
		v.Certificates = append(v.Certificates, page.Certificate{Lineage: status.Of(w.In, forecast), Timeline: page.TimelineOf(w.In, forecast, w.Events), Events: w.Events})
	}
	rank := func(c page.Certificate) int {
		return slices.Index([]status.Severity{status.Critical, status.Warning, ""}, status.Worst(c.Problems))
	}
	slices.SortStableFunc(v.Certificates, func(a, b page.Certificate) int { return rank(a) - rank(b) })
	return v
}
