package status

import (
	"keepkey/plan"
)

// looked words what a check found at a server. guessed says that it is looked at since no
// address is configured.
func looked(name string, f plan.Finding, guessed bool) (p Problem, ok bool) {
	p = Problem{ID: f.Key(), Code: f.Code, Severity: Critical}
	defer func() { p.Subject = short(p.Subject) }()
	reload := "see that the server was reloaded and reads the live directory"
	renew := reload
	if !f.Older {
		renew = "see why it was not renewed: keepkey status --name " + name
	}
	switch f.Code {
	case plan.NothingToLookAt:
		p.Severity = Warning
		p.Subject = "there is no server that could be looked at from here"
		return p, p.say("", "name one that can under check in the configuration")
	case plan.ServerUnroutable:
		p.Severity = Info
		p.Subject = f.Target + " was not looked at: " + f.Reason
		return p, p.say("", "look from a machine that has one")
	case plan.ServerUnreachable:
		p.Severity = Warning
		p.Subject = "nobody can tell which key is served at " + f.Target + ": " + f.Reason
		p.Do = []string{"see that the server runs and can be reached from here"}
		if guessed {
			p.Do = append(p.Do, "if it is not a web server, say where TLS is served, as with check: [\"smtp://mail.example.com\"] in the configuration")
		}
		return p, true
	case plan.ServedKeyWrong:
		p.Subject = "the key served at " + f.Target + " is not the active one: " + f.Reason
		if !f.Time.IsZero() {
			p.Severity = Warning
			return p, p.say("the keys were switched at "+Time(f.Time)+", and clients still accept the key from before", reload)
		}
		return p, p.say("", reload)
	case plan.ServedKeyUnknown:
		p.Subject = "the key served at " + f.Target + " is not the active one: " + f.Reason
		return p, p.say("", "see which certificate that server reads: "+reload, "if the state directory was restored from an old backup, restore the newest one",
			"if that is another server, name those that count under check in the configuration")
	case plan.ServedCertificateOld:
		p.Severity = Warning
		p.Subject = f.Target + " does not serve the newest certificate: " + f.Reason
		return p, p.say("the key is the right one; clients go on until that certificate expires", reload)
	case plan.ServedCertificateInvalid:
		p.Subject = "the certificate served at " + f.Target + " is not valid: " + f.Reason
		return p, p.say("the key is the right one", renew)
	case plan.ServedCertificateEnding:
		if !f.Urgent {
			p.Severity = Warning
		}
		p.Subject = "the certificate served at " + f.Target + " ends soon, and was due for renewal: it expires at " + Time(f.Expires)
		return p, p.say("the key is the right one; clients go on until then", renew)
	case plan.ServedNameMissing:
		p.Subject = "clients refuse the certificate served at " + f.Target + ": " + f.Reason
		return p, p.say("the key is the right one", renew)
	case plan.ServedChainBroken:
		p.Subject = "clients can't verify the certificate served at " + f.Target + ": " + f.Reason
		return p, p.say("the key is the right one, and so is the certificate", "see that the server reads fullchain.pem (or combined.pem), and not cert.pem")
	case plan.StapleWrong:
		p.Severity = Warning
		p.Subject = "the OCSP response that " + f.Target + " presents is no good: " + f.Reason
		if f.Urgent {
			p.Severity = Critical
			return p, p.say("the key is the right one", "if it was not you who revoked it, ask the CA; to get another certificate: keepkey renew --force --name "+name)
		}
		return p, p.say("the key is the right one, and so is the certificate", "see that the server can reach the CA's OCSP responder, or turn stapling off there")
	case plan.TLSAWrong:
		p.Subject = "clients that go by TLSA records (DANE) refuse " + f.Target + ": " + f.Reason
		for _, pin := range f.Pins {
			p.Do = append(p.Do, "publish a record there: 3 1 1 "+pin.Hex())
		}
		return p, true
	case plan.TLSAUnknown:
		p.Severity = Info
		p.Subject = "nobody can tell whether clients that go by TLSA records (DANE) accept " + f.Target + ": " + f.Reason
		return p, true
	}
	return p, false
}
