package apply

import (
	"keepkey/config"
	"keepkey/hooks"
	"keepkey/plan"
)

// Goal is what the planner needs of a certificate's configuration.
func Goal(cert config.Certificate) plan.Goal {
	g := plan.Goal{
		Name: cert.Name, Domains: cert.Domains, CA: cert.ACME.Directory, KeyType: cert.KeyType, Backups: cert.Backups,
		Deploy: ids(cert.Deploy), Check: cert.Check, KeepOldPin: cert.KeepOldPin, RolloverEvery: cert.RolloverEvery,
	}
	for _, ch := range cert.Channels {
		g.Channels = append(g.Channels, plan.Channel{
			Name: ch.Name, Lifetime: ch.Lifetime, Manual: ch.Manual, ReadBack: ch.ReadBack != nil, Hooks: ids(ch.Publish),
		})
	}
	return g
}

func ids(all []hooks.Hook) []string {
	var out []string
	for _, h := range all {
		out = append(out, h.ID())
	}
	return out
}
