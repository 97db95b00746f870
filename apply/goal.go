package apply

import (
	"strings"

	"keepkey/config"
	"keepkey/hooks"
	"keepkey/pinset"
	"keepkey/plan"
)

// Goal is what the planner needs of a certificate's configuration.
func Goal(cert config.Certificate) plan.Goal {
	g := plan.Goal{
		Name: cert.Name, Domains: cert.Domains, CA: cert.ACME.Directory, KeyType: cert.KeyType, Backups: cert.Backups,
		NobodyPins: cert.NobodyPins,
		Deploy:     ids(cert.Deploy), Check: cert.Check, KeepOldPin: cert.KeepOldPin, RolloverEvery: cert.RolloverEvery, ForceAfter: cert.ForceAfter,
	}
	for _, ch := range cert.Channels {
		out := plan.Channel{
			Name: ch.Name, Clients: pinset.Clients{Lifetime: ch.Lifetime, Cache: ch.Cache}, Manual: ch.Manual, ReadBack: ch.ReadBack != nil,
			Readable: ch.ReadBack != nil,
		}
		for _, h := range ch.Publish {
			_, place := hooks.Place(h)
			out.Readable = out.Readable || (place && !ch.Manual)
			out.Publish = append(out.Publish, pinset.Place{ID: h.ID(), Name: shortened(h.String())})
		}
		g.Channels = append(g.Channels, out)
	}
	return g
}

// shortened cuts a name, so that the ledger takes it.
func shortened(name string) string {
	const most = 200
	if len(name) > most {
		name = name[:most] + "..."
	}
	return strings.ToValidUTF8(name, "?")
}

func ids(all []hooks.Hook) []string {
	var out []string
	for _, h := range all {
		out = append(out, h.ID())
	}
	return out
}
