package plan_test

import (
	"fmt"
	"time"

	"keepkey/pinset"
	"keepkey/plan"
)

// A lineage is planned for, and goes on from what came of each action, until nothing is
// due. Package apply does the same with the real world between the two steps.
func Example() {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	in := plan.Input{
		Goal: plan.Goal{
			Name: "api.example.com", Domains: []string{"api.example.com"}, KeyType: pinset.EC256, Backups: 1,
			Channels: []plan.Channel{{Name: "app", Clients: pinset.Clients{Lifetime: pinset.Lifetime{Duration: 30 * 24 * time.Hour}}}},
		},
		Host: "here", Now: now,
	}
	key := byte(0)
	for {
		a, due := plan.Next(in).Due(now)
		if !due {
			break
		}
		fmt.Println(a.Kind)
		results := []plan.Result{{}}
		switch a.Kind {
		case plan.GenerateKey:
			key++
			results[0].Pin = pinset.Pin{key}
		case plan.Publish:
			results = []plan.Result{{Began: true}, {}} // it has no hooks
		case plan.Obtain:
			results[0].Certificate = &plan.Certificate{
				Version: 1, Pin: in.State.Target(a), Serial: "5e", Domains: in.Goal.Domains,
				NotBefore: now, NotAfter: now.Add(90 * 24 * time.Hour),
			}
		case plan.Install:
			in.Disk.Live = a.Version
		}
		for _, r := range results {
			r.At = now
			if err := in.Follow(a, r); err != nil {
				fmt.Println(err)
				return
			}
		}
	}
	next, _ := plan.Next(in).First()
	fmt.Println("then:", next.Kind, "at", next.At.Format(time.DateOnly))
	// Output:
	// begin-lineage
	// generate-key
	// generate-key
	// publish
	// obtain
	// install
	// then: obtain at 2027-01-21
}
