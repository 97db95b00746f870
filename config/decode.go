package config

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"keepkey/pinset"
)

// Parse reads a configuration from memory. The file's name is shown in messages, and
// relative paths count from its directory. knownProvider says what is wrong with the
// name of a DNS provider, if anything: which ones a build has is not for this package
// to know. With nil, any name is accepted.
func Parse(file string, data []byte, knownProvider func(name string) error) (*Config, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	root, err := document(file, data)
	if err != nil {
		return nil, err
	}
	return parse(file, abs, root, knownProvider)
}

// Parse reads all that a configuration file says, once. For knownProvider see [Parse].
func (d *Document) Parse(knownProvider func(name string) error) (*Config, error) {
	return parse(d.File, d.File, d.root, knownProvider)
}

const defaultState = "/var/lib/keepkey"

func parse(file, abs string, root *yaml.Node, knownProvider func(name string) error) (*Config, error) {
	d := &decoder{
		file: file, dir: filepath.Dir(abs), knownProvider: knownProvider,
		termsMissing: make(map[*yaml.Node]bool), published: make(map[string]int),
	}
	cfg := &Config{File: abs, State: defaultState}
	ca := ACME{Directory: directories["letsencrypt"]}
	var acmeNode, certificates *yaml.Node
	defaults := Certificate{KeyType: pinset.EC256, Backups: 1, KeepOldPin: week, ForceAfter: time.Hour, Challenge: Challenge{HTTP01: &HTTP01{Listen: ":80"}}}
	d.web(&cfg.Listen, root)
	d.mapping(root, "", fields{
		"state":     d.path(&cfg.State, "the path of the state directory"),
		"group":     d.group(&cfg.Group),
		"operators": d.group(&cfg.Operators),
		"resolvers": d.addresses(&cfg.Resolvers, "a DNS server as host or host:port", toResolve),
		"reports": func(n *yaml.Node, path string) {
			if d.truth(&cfg.Reports)(n, path); cfg.Reports && given(root, "listen") == 0 {
				d.errorf(n, path, "clients can't report anything without `listen`, which says where the daemon answers, such as listen: unix:/run/keepkey/http")
			}
		},
		"acme": func(n *yaml.Node, path string) {
			acmeNode = n
			d.acme(&ca, n, path)
		},
		"defaults": func(n *yaml.Node, path string) {
			d.mapping(n, path, fields{
				"key_type":  d.keyType(&defaults.KeyType),
				"backups":   d.integer(&defaults.Backups, 1, maxBackups),
				"challenge": d.challenge(&defaults.Challenge),
				"rollover":  d.rollover(&defaults),
			})
		},
		"certificates": func(n *yaml.Node, _ string) { certificates = n },
		"notify":       d.notify(&cfg.Notify),
		// Read first, wherever they are: channels depend on them.
		"listen":        func(*yaml.Node, string) {},
		"listen_public": func(*yaml.Node, string) {},
	})
	if root.Kind != yaml.MappingNode {
		// Reported already.
	} else if certificates == nil || (certificates.Kind == yaml.SequenceNode && len(certificates.Content) == 0) {
		d.errorf(root, "certificates", "no certificate is configured: want a list with at least one")
	} else {
		// Last, wherever they are in the file: they inherit from the rest.
		names := make(map[string]int)
		cfg.Certificates = make([]Certificate, 0, len(certificates.Content))
		d.sequence(certificates, "certificates", func(n *yaml.Node, path string) {
			cert := d.certificate(n, path, ca, defaults, acmeNode)
			if line, taken := names[cert.Name]; taken && cert.Name != "" {
				d.errorf(n, path+".name", "the name %.200q is taken by the certificate in line %d; give one of them another `name`", cert.Name, line)
			}
			names[cert.Name] = n.Line
			cert.Resolvers = cfg.Resolvers
			cfg.Certificates = append(cfg.Certificates, cert)
			n.Content = nil // read; with thousands of certificates this is most of the memory
		})
	}
	d.outside(cfg.State)
	if len(d.errs) > 0 {
		slices.SortStableFunc(d.errs, func(a, b Error) int { return a.Line - b.Line })
		return nil, d.errs
	}
	return cfg, nil
}

func (d *decoder) group(dest *string) func(*yaml.Node, string) {
	return d.text(dest, "the name of a group")
}

const (
	maxBackups = 10
	maxDomains = 100
)

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,199}$`)

func (d *decoder) certificate(n *yaml.Node, path string, ca ACME, defaults Certificate, acmeNode *yaml.Node) Certificate {
	cert := defaults
	cert.ACME = ca
	var ownCA *yaml.Node
	var wildcards []located
	d.mapping(n, path, fields{
		"name": func(n *yaml.Node, path string) {
			if d.textAt(&cert.Name, "a name", n, path) && !validName.MatchString(cert.Name) {
				d.errorf(n, path, "%.200q is not a valid name: want lower-case letters, digits, '.', '_' and '-', at most 200, beginning with a letter or digit", cert.Name)
			}
		},
		"domains": func(n *yaml.Node, path string) {
			wildcards = d.domains(&cert.Domains, n, path)
		},
		"acme": func(n *yaml.Node, path string) {
			ownCA = n
			if given(n, "directory") > 0 {
				// A different CA: what was agreed with the first does not carry over.
				cert.ACME = ACME{Email: ca.Email}
			}
			d.acme(&cert.ACME, n, path)
		},
		"key_type":  d.keyType(&cert.KeyType),
		"backups":   d.integer(&cert.Backups, 1, maxBackups),
		"challenge": d.challenge(&cert.Challenge),
		"channels": func(n *yaml.Node, path string) {
			d.channels(&cert.Channels)(n, path)
			cert.NobodyPins = n.Kind == yaml.SequenceNode && len(n.Content) == 0
		},
		"deploy":   d.hooks(&cert.Deploy, deploying),
		"check":    d.addresses(&cert.Check, whatToCheck, toCheck),
		"rollover": d.rollover(&cert),
	})
	if n.Kind != yaml.MappingNode {
		return cert
	}
	if given(n, "domains") == 0 {
		d.errorf(n, path, "domains is missing: want a list with at least one domain name")
	}
	if cert.Name == "" && len(cert.Domains) > 0 {
		cert.Name = strings.TrimPrefix(cert.Domains[0], "*.")
		if !validName.MatchString(cert.Name) {
			d.errorf(n, path, "the first domain is too long to serve as the name: give the certificate a `name`")
		}
	}
	if cert.RolloverEvery != 0 && cert.RolloverEvery <= cert.KeepOldPin {
		d.errorf(n, path+".rollover", "every (%s) must be longer than keep_old_pin (%s): a rollover begins only when the previous one is over",
			FormatDuration(cert.RolloverEvery), FormatDuration(cert.KeepOldPin))
	}
	if cert.RolloverEvery != 0 && len(cert.Channels) == 0 && !cert.NobodyPins {
		d.errorf(n, path, "rollover.every needs channels, or no rollover would ever happen: list those by which clients get pins, or channels: [] if nobody pins")
	}
	d.terms(cert, n, acmeNode, ownCA, path)
	if cert.Challenge.DNS01 == nil {
		for _, w := range wildcards {
			d.errorf(w.node, w.path, "%.300q is a wildcard, which CAs issue for dns-01 only: set challenge to dns-01", w.node.Value)
		}
	}
	return cert
}

func (d *decoder) rollover(dest *Certificate) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		d.mapping(n, path, fields{
			"keep_old_pin": d.duration(&dest.KeepOldPin, 0, 366*day, "a duration such as 7d, at most 366d"),
			"force_after":  d.duration(&dest.ForceAfter, time.Minute, 366*day, "a duration such as 1h, from 1m to 366d"),
			"every":        d.duration(&dest.RolloverEvery, day, 3660*day, "a duration such as 365d, from 1d to 3660d"),
		})
	}
}

func (d *decoder) duration(dest *time.Duration, low, high time.Duration, want string) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		var s string
		if !d.textAt(&s, want, n, path) {
			return
		}
		v, err := ParseDuration(s)
		if err != nil || v < low || v > high {
			d.errorf(n, path, "%.100q: want %s", s, want)
			return
		}
		*dest = v
	}
}

// located is a node with its path.
type located struct {
	node *yaml.Node
	path string
}

// domains reads a certificate's names, and returns which of them are wildcards.
func (d *decoder) domains(dest *[]string, n *yaml.Node, path string) (wildcards []located) {
	seen := make(map[string]bool)
	d.sequence(n, path, func(n *yaml.Node, path string) {
		var s string
		if !d.textAt(&s, "a domain name", n, path) {
			return
		}
		domain, err := ParseDomain(s)
		switch {
		case err != nil:
			d.errorf(n, path, "%v", err)
		case seen[domain]:
			d.errorf(n, path, "%q is listed twice", domain)
		default:
			seen[domain] = true
			*dest = append(*dest, domain)
			if strings.HasPrefix(domain, "*.") {
				wildcards = append(wildcards, located{n, path})
			}
		}
	})
	if n.Kind == yaml.SequenceNode && (len(n.Content) == 0 || len(n.Content) > maxDomains) {
		d.errorf(n, path, "%d domain names: want 1 to %d, which is what CAs take; make several certificates of them", len(n.Content), maxDomains)
	}
	return wildcards
}

func (d *decoder) keyType(dest *pinset.KeyType) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		var s string
		if !d.textAt(&s, "a key type", n, path) {
			return
		}
		t, err := pinset.ParseKeyType(s)
		if err != nil {
			d.errorf(n, path, "%v", err)
			return
		}
		*dest = t
	}
}
