package config

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// directories are the CAs that have a name of their own in the configuration.
var directories = map[string]string{
	"letsencrypt":         "https://acme-v02.api.letsencrypt.org/directory",
	"letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
	"google":              "https://dv.acme-v02.api.pki.goog/directory",
	"google-staging":      "https://dv.acme-v02.test-api.pki.goog/directory",
	"zerossl":             "https://acme.zerossl.com/v2/DV90",
}

// acme reads an acme section. What it does not say stays as dest has it.
func (d *decoder) acme(dest *ACME, n *yaml.Node, path string) {
	var ignores *yaml.Node
	d.mapping(n, path, fields{
		"directory": func(n *yaml.Node, path string) {
			var s string
			if !d.textAt(&s, "the URL or the name of an ACME directory", n, path) {
				return
			}
			if known, ok := directories[s]; ok {
				dest.Directory = known
				return
			}
			u, err := url.Parse(s)
			if err != nil || u.Scheme != "https" || !validHost.MatchString(u.Hostname()) || u.User != nil {
				d.errorf(n, path, "%.200q is not an ACME directory: want an https URL, or one of %s", shown(s), strings.Join(slices.Sorted(maps.Keys(directories)), ", "))
				return
			}
			dest.Directory = s
		},
		"email": func(n *yaml.Node, path string) {
			if d.textAt(&dest.Email, "an e-mail address", n, path) && !validEmail.MatchString(dest.Email) {
				d.errorf(n, path, "%.200q is not an e-mail address", dest.Email)
			}
		},
		"accept_terms": d.truth(&dest.AcceptTerms),
		"ca_bundle":    d.readable(&dest.CABundle, "the path of a file with certificates in PEM"),
		"eab": func(n *yaml.Node, path string) {
			eab := &EAB{}
			d.mapping(n, path, fields{
				"kid":       d.text(&eab.KID, "the key identifier that the CA gave you"),
				"hmac_file": d.secret(&eab.HMACFile, "the path of a file with the HMAC key that the CA gave you"),
			})
			if n.Kind == yaml.MappingNode && given(n, "kid", "hmac_file") != 2 {
				d.errorf(n, path, "want both kid and hmac_file")
			}
			dest.EAB = eab
		},
		"ignore_clock": func(n *yaml.Node, path string) {
			d.truth(&dest.IgnoreClock)(n, path)
			ignores = n
		},
		"profile":         d.text(&dest.Profile, "the name of a profile that the CA offers"),
		"preferred_chain": d.text(&dest.PreferredChain, "the common name of an issuer"),
	})
	if public := slices.Contains(slices.Collect(maps.Values(directories)), dest.Directory); dest.IgnoreClock && ignores != nil && public {
		d.errorf(ignores, path+".ignore_clock", "the clock of %s is right; set this machine's", dest.Directory)
	}
}

// validHost is a name or an address that can be part of a file's name.
var validHost = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_-]|\.[A-Za-z0-9])*$|^[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*$`)

var validEmail = regexp.MustCompile(`^[^@\s,:;<>]+@[^@\s,:;<>]+\.[^@\s,:;<>]+$`)

// terms checks that the terms of a certificate's CA are accepted. The mistake is
// reported once, at the section that should accept them.
func (d *decoder) terms(cert Certificate, n, top, own *yaml.Node, path string) {
	if cert.ACME.AcceptTerms || cert.ACME.Directory == "" {
		return // accepted, or it was reported that the CA is unknown
	}
	at := top
	if own != nil && (top == nil || given(own, "directory", "accept_terms") > 0) {
		at = own
		path += ".acme"
	} else {
		path = "acme"
	}
	if d.termsMissing[at] {
		return
	}
	d.termsMissing[at] = true
	switch value := valueOf(at, "accept_terms"); {
	case value != nil:
		n = value
	case at != nil:
		n = at
	}
	d.errorf(n, path+".accept_terms", "read the terms of service of %s and set accept_terms: true", cert.ACME.Directory)
}
