package plan

import "slices"

// servings returns what stands between the stored certificate and the clients of this
// host.
func servings(in Input) []Action {
	c := in.State.Certificate
	if c == nil || in.Disk.StoredProblem != nil {
		return nil
	}
	host := in.State.Hosts[in.Host]
	if in.Disk.Live != c.Version || host.Installed != c.Version {
		why := Why{Code: WhyNewerCertificate}
		if in.Disk.Live == 0 {
			why.Code = WhyNothingInstalled
		}
		return []Action{{Kind: Install, Version: c.Version, Host: in.Host, Why: why}}
	}
	var actions []Action
	for _, h := range Outstanding(in.Goal.Deploy, host.Deployed) {
		actions = append(actions, Action{Kind: Deploy, Version: c.Version, Target: h, Host: in.Host, Why: Why{Code: WhyNotDeployed}})
	}
	if len(actions) > 0 {
		return actions
	}
	for _, addr := range Outstanding(in.Goal.Check, host.Checked) {
		actions = append(actions, Action{Kind: Check, Version: c.Version, Target: addr, Host: in.Host, Why: Why{Code: WhyNotChecked}})
	}
	return actions
}

// KeepVersions is how many stored certificate versions are kept in any case.
const KeepVersions = 5

// prunings returns the stored versions that nobody needs any more: not among the
// newest, not installed on any host, and expired. One that has not expired is kept,
// since its key may yet be compromised, and to revoke it takes the certificate.
func prunings(in Input) []Action {
	if in.State.Certificate == nil || len(in.Disk.Versions) <= KeepVersions {
		return nil
	}
	if wrongClock(in) != nil {
		return nil // it can't say what has expired
	}
	needed := []int{in.Disk.Live, in.State.Certificate.Version}
	for _, h := range in.State.Hosts {
		needed = append(needed, h.Installed)
	}
	for _, i := range in.State.Issued {
		if !in.Now.After(i.NotAfter) {
			needed = append(needed, i.Version)
		}
	}
	versions := slices.Sorted(slices.Values(in.Disk.Versions))
	var actions []Action
	for _, n := range versions[:len(versions)-KeepVersions] {
		if !slices.Contains(needed, n) {
			actions = append(actions, Action{Kind: Prune, Version: n, Host: in.Host, Why: Why{Code: WhyOldCertificate}})
		}
	}
	return actions
}
