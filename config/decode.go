package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"keepkey/pinset"
)

// directories are the CAs that have a name of their own in the configuration.
var directories = map[string]string{
	"letsencrypt":         "https://acme-v02.api.letsencrypt.org/directory",
	"letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
	"google":              "https://dv.acme-v02.api.pki.goog/directory",
	"google-staging":      "https://dv.acme-v02.test-api.pki.goog/directory",
	"zerossl":             "https://acme.zerossl.com/v2/DV90",
}

// Parse reads a configuration from memory. The file's name serves messages and
// as the place that relative paths count from.
func Parse(file string, data []byte) (*Config, error) {
	d := &decoder{file: file, dir: filepath.Dir(file), termsMissing: make(map[string]bool)}
	root, err := parseYAML(data)
	if err != nil {
		line, text := yamlError(err)
		return nil, Errors{{File: file, Line: line, Text: text}}
	}
	cfg := &Config{File: file, State: "/var/lib/keepkey"}
	ca := ACME{Directory: directories["letsencrypt"]}
	var acmeNode, certificates *yaml.Node
	defaults := Certificate{KeyType: pinset.EC256, Backups: 1, KeepOldPin: week, Challenge: Challenge{HTTP01: &HTTP01{Listen: ":80"}}}
	d.mapping(root, "", fields{
		"state":     d.path(&cfg.State, "the path of the state directory"),
		"group":     d.text(&cfg.Group, "the name of a group"),
		"resolvers": d.addresses(&cfg.Resolvers, "53", "a DNS server as host or host:port"),
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
	})
	if certificates == nil || (certificates.Kind == yaml.SequenceNode && len(certificates.Content) == 0) {
		d.errorf(root, "certificates", "no certificate is configured: want a list with at least one")
	} else {
		// Last, whatever their place in the file: they take over from the rest.
		names, files := make(map[string]int), make(map[string]int)
		d.sequence(certificates, "certificates", func(n *yaml.Node, path string) {
			cert := d.certificate(n, path, ca, defaults, acmeNode)
			if line, taken := names[cert.Name]; taken && cert.Name != "" {
				d.errorf(n, path+".name", "the name %q is taken by the certificate in line %d; give one of them another `name`", cert.Name, line)
			}
			names[cert.Name] = n.Line
			d.publishFiles(cert, n, path, files)
			cfg.Certificates = append(cfg.Certificates, cert)
		})
	}
	if len(d.errs) > 0 {
		slices.SortStableFunc(d.errs, func(a, b Error) int { return a.Line - b.Line })
		return nil, d.errs
	}
	return cfg, nil
}

func parseYAML(data []byte) (*yaml.Node, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("the file is not UTF-8 text")
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty")
	} else if err != nil {
		return nil, err
	}
	if err := dec.Decode(&second); err == nil {
		return nil, fmt.Errorf("yaml: line %d: a second document begins here; want one", second.Line)
	} else if !errors.Is(err, io.EOF) {
		return nil, err
	}
	return doc.Content[0], nil
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): `)

// yamlError takes the line out of an error of the YAML library.
func yamlError(err error) (line int, text string) {
	text = err.Error()
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1]) // digits, or 0
		text = strings.TrimPrefix(text, m[0])
	}
	return line, strings.TrimPrefix(text, "yaml: ")
}

const (
	maxBackups = 10
	maxDomains = 100
)

// acme reads an acme section over what dest holds already.
func (d *decoder) acme(dest *ACME, n *yaml.Node, path string) {
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
			if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
				d.errorf(n, path, "%.200q is no ACME directory: want an https URL, or one of %s", s, strings.Join(sortedKeys(directories), ", "))
				return
			}
			dest.Directory = s
		},
		"email": func(n *yaml.Node, path string) {
			if d.textAt(&dest.Email, "an e-mail address", n, path) && !validEmail.MatchString(dest.Email) {
				d.errorf(n, path, "%.200q is no e-mail address", dest.Email)
			}
		},
		"accept_terms": d.truth(&dest.AcceptTerms),
		"ca_bundle":    d.readable(&dest.CABundle, "the path of a file with certificates in PEM"),
		"eab": func(n *yaml.Node, path string) {
			eab := &EAB{}
			d.mapping(n, path, fields{
				"kid":       d.text(&eab.KID, "the key identifier that the CA gave you"),
				"hmac_file": d.readable(&eab.HMACFile, "the path of a file with the HMAC key that the CA gave you"),
			})
			if n.Kind == yaml.MappingNode && (eab.KID == "" || eab.HMACFile == "") && !d.complained(path) {
				d.errorf(n, path, "want both kid and hmac_file")
			}
			dest.EAB = eab
		},
		"profile":         d.text(&dest.Profile, "the name of a profile that the CA offers"),
		"preferred_chain": d.text(&dest.PreferredChain, "the common name of an issuer"),
	})
}

var validEmail = regexp.MustCompile(`^[^@\s,:;<>]+@[^@\s,:;<>]+\.[^@\s,:;<>]+$`)

// complained says whether something at or below a path is wrong already.
func (d *decoder) complained(path string) bool {
	return slices.ContainsFunc(d.errs, func(e Error) bool { return strings.HasPrefix(e.Path, path) })
}

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,199}$`)

func (d *decoder) certificate(n *yaml.Node, path string, ca ACME, defaults Certificate, acmeNode *yaml.Node) Certificate {
	cert := defaults
	cert.ACME = ca
	ownCA := acmeNode
	var domainNode *yaml.Node
	d.mapping(n, path, fields{
		"name": func(n *yaml.Node, path string) {
			if d.textAt(&cert.Name, "a name", n, path) && !validName.MatchString(cert.Name) {
				d.errorf(n, path, "%.200q is no name: want lower-case letters, digits, '.', '_' and '-', at most 200, not beginning with a sign", cert.Name)
			}
		},
		"domains": func(n *yaml.Node, path string) {
			domainNode = n
			d.domains(&cert.Domains, n, path)
		},
		"acme": func(n *yaml.Node, path string) {
			ownCA = n
			if hasKey(n, "directory") {
				// Another CA: what was agreed with the first does not carry over.
				cert.ACME = ACME{Email: ca.Email}
			}
			d.acme(&cert.ACME, n, path)
		},
		"key_type":  d.keyType(&cert.KeyType),
		"backups":   d.integer(&cert.Backups, 1, maxBackups),
		"challenge": d.challenge(&cert.Challenge),
		"channels":  d.channels(&cert.Channels),
		"deploy":    d.hooks(&cert.Deploy, false),
		"check":     d.addresses(&cert.Check, "443", "an address as host or host:port"),
		"rollover":  d.rollover(&cert),
	})
	if n.Kind != yaml.MappingNode {
		return cert
	}
	if domainNode == nil {
		d.errorf(n, path, "domains is missing: want a list with at least one domain name")
	}
	if cert.Name == "" && len(cert.Domains) > 0 {
		cert.Name = strings.TrimPrefix(cert.Domains[0], "*.")
		if !validName.MatchString(cert.Name) {
			d.errorf(n, path, "the first domain is too long for a name: give the certificate a `name`")
		}
	}
	if !cert.ACME.AcceptTerms && !d.termsMissing[cert.ACME.Directory] {
		d.termsMissing[cert.ACME.Directory] = true
		if ownCA == nil {
			ownCA = n
		}
		d.errorf(ownCA, "acme.accept_terms", "read the terms of service of %s and set accept_terms: true", cert.ACME.Directory)
	}
	for _, domain := range cert.Domains {
		if strings.HasPrefix(domain, "*.") && cert.Challenge.DNS01 == nil {
			d.errorf(domainNode, path+".domains", "%q is a wildcard, which CAs give out for dns-01 only: set challenge to dns-01", domain)
		}
	}
	return cert
}

func (d *decoder) rollover(dest *Certificate) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		d.mapping(n, path, fields{
			"keep_old_pin": func(n *yaml.Node, path string) {
				const want = "a duration such as 7d"
				var s string
				if !d.textAt(&s, want, n, path) {
					return
				}
				keep, err := ParseDuration(s)
				if err != nil || keep > 366*day {
					d.errorf(n, path, "%.100q: want %s", s, want)
					return
				}
				dest.KeepOldPin = keep
			},
		})
	}
}

func hasKey(n *yaml.Node, key string) bool {
	if n.Kind != yaml.MappingNode {
		return false
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return true
		}
	}
	return false
}

func (d *decoder) domains(dest *[]string, n *yaml.Node, path string) {
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
			d.errorf(n, path, "%q is there twice", domain)
		default:
			seen[domain] = true
			*dest = append(*dest, domain)
		}
	})
	if n.Kind == yaml.SequenceNode && (len(n.Content) == 0 || len(n.Content) > maxDomains) {
		d.errorf(n, path, "%d domain names: want 1 to %d", len(n.Content), maxDomains)
	}
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

func (d *decoder) challenge(dest *Challenge) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		ch := Challenge{}
		d.mapping(n, path, fields{
			"http-01": func(n *yaml.Node, path string) {
				ch.HTTP01 = &HTTP01{}
				d.mapping(n, path, fields{
					"listen":  d.listen(&ch.HTTP01.Listen),
					"webroot": d.directory(&ch.HTTP01.Webroot, "the path of a web server's document root"),
				})
				if (ch.HTTP01.Listen == "") == (ch.HTTP01.Webroot == "") && !d.complained(path) {
					d.errorf(n, path, "want either listen or webroot")
				}
			},
			"tls-alpn-01": func(n *yaml.Node, path string) {
				ch.TLSALPN01 = &TLSALPN01{Listen: ":443"}
				d.mapping(n, path, fields{"listen": d.listen(&ch.TLSALPN01.Listen)})
			},
			"dns-01": func(n *yaml.Node, path string) {
				ch.DNS01 = &DNS01{Propagation: Propagation{Check: "authoritative"}}
				d.mapping(n, path, fields{
					"provider": func(n *yaml.Node, path string) {
						ch.DNS01.Line = n.Line
						d.textAt(&ch.DNS01.Provider, "the name of a DNS provider", n, path)
					},
					"env_file":    d.readable(&ch.DNS01.EnvFile, "the path of a file with the provider's variables"),
					"propagation": d.propagation(&ch.DNS01.Propagation),
				})
				if ch.DNS01.Provider == "" && !d.complained(path) {
					d.errorf(n, path, "provider is missing: want the name of a DNS provider")
				}
			},
		})
		if n.Kind == yaml.MappingNode && len(n.Content) != 2 && !d.complained(path) {
			d.errorf(n, path, "want exactly one of http-01, tls-alpn-01, dns-01")
		}
		*dest = ch
	}
}

func (d *decoder) propagation(dest *Propagation) func(*yaml.Node, string) {
	const want = "authoritative, resolvers, or a duration to wait instead"
	return func(n *yaml.Node, path string) {
		var s string
		if !d.textAt(&s, want, n, path) {
			return
		}
		if s == "authoritative" || s == "resolvers" {
			*dest = Propagation{Check: s}
			return
		}
		wait, err := ParseDuration(s)
		if err != nil || wait > time.Hour {
			d.errorf(n, path, "%.100q: want %s (at most 1h)", s, want)
			return
		}
		*dest = Propagation{Check: "none", Wait: wait}
	}
}

var validChannel = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

func (d *decoder) channels(dest *[]Channel) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		lines := make(map[string]int)
		d.sequence(n, path, func(n *yaml.Node, path string) {
			var ch Channel
			lifetime := false
			d.mapping(n, path, fields{
				"name": func(n *yaml.Node, path string) {
					if !d.textAt(&ch.Name, "a name", n, path) {
						return
					}
					if !validChannel.MatchString(ch.Name) {
						d.errorf(n, path, "%.100q is no channel name: want lower-case letters, digits and '-', at most 64, not beginning with '-'", ch.Name)
					}
					if line, taken := lines[ch.Name]; taken {
						d.errorf(n, path, "the name %q is taken by the channel in line %d", ch.Name, line)
					}
					lines[ch.Name] = n.Line
				},
				"format": func(n *yaml.Node, path string) {
					if d.textAt(&ch.Format, "a format", n, path) && !slices.Contains(pinset.Formats(), ch.Format) {
						d.errorf(n, path, "%.100q is no format: want %s", ch.Format, strings.Join(pinset.Formats(), ", "))
					}
				},
				"lifetime": func(n *yaml.Node, path string) {
					lifetime = true
					d.lifetime(&ch.Lifetime, n, path)
				},
				"confirm": func(n *yaml.Node, path string) {
					var s string
					if !d.textAt(&s, "automatic or manual", n, path) {
						return
					}
					if s != "automatic" && s != "manual" {
						d.errorf(n, path, "%.100q: want automatic or manual", s)
						return
					}
					ch.Manual = s == "manual"
				},
				"publish":   d.hooks(&ch.Publish, true),
				"read_back": func(n *yaml.Node, path string) { ch.ReadBack = d.readBack(n, path) },
			})
			if n.Kind != yaml.MappingNode {
				return
			}
			if ch.Manual && ch.ReadBack != nil {
				d.errorf(n, path, "confirm: manual and read_back exclude each other: a person says that it is out, or keepkey looks")
			}
			for _, missing := range []struct {
				is   bool
				text string
			}{
				{ch.Name == "", "name is missing: want a name for the channel"},
				{ch.Format == "", "format is missing: want " + strings.Join(pinset.Formats(), ", ")},
				{!lifetime, "lifetime is missing: want how long a client goes on enforcing a pin set after a newer one is out, such as 30d, or none when there is no limit"},
				{len(ch.Publish) == 0, "publish is missing: want a list with at least one hook"},
			} {
				if missing.is && !d.complained(path) {
					d.errorf(n, path, "%s", missing.text)
				}
			}
			*dest = append(*dest, ch)
		})
	}
}

func (d *decoder) readBack(n *yaml.Node, path string) *ReadBack {
	r := &ReadBack{Timeout: time.Minute}
	d.mapping(n, path, fields{
		"url":     d.httpsURL(&r.URL),
		"command": func(n *yaml.Node, path string) { d.command(&r.Command, n, path) },
		"file":    d.path(&r.File, "the path of a file"),
		"timeout": d.timeout(&r.Timeout),
	})
	given := 0
	for _, is := range []bool{r.Command != nil, r.File != "", r.URL != ""} {
		if is {
			given++
		}
	}
	if n.Kind == yaml.MappingNode && given != 1 && !d.complained(path) {
		d.errorf(n, path, "want exactly one of url, command, file")
	}
	return r
}

func (d *decoder) lifetime(dest *pinset.Lifetime, n *yaml.Node, path string) {
	const want = "a duration such as 30d, or none"
	var s string
	if !d.textAt(&s, want, n, path) {
		return
	}
	if s == "none" {
		*dest = pinset.Lifetime{None: true}
		return
	}
	duration, err := ParseDuration(s)
	if err != nil || duration <= 0 || duration > 100*365*day {
		d.errorf(n, path, "%.100q: want %s", s, want)
		return
	}
	*dest = pinset.Lifetime{Duration: duration}
}

// hooks reads a list of hooks. Only a publication has something to write to a file.
func (d *decoder) hooks(dest *[]Hook, publish bool) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		d.sequence(n, path, func(n *yaml.Node, path string) {
			h := Hook{Timeout: time.Minute}
			known := fields{
				"command": func(n *yaml.Node, path string) { d.command(&h.Command, n, path) },
				"webhook": func(n *yaml.Node, path string) { d.webhook(&h, n, path) },
				"timeout": d.timeout(&h.Timeout),
			}
			want := "command, webhook"
			if publish {
				known["file"] = d.path(&h.File, "the path of a file")
				want = "command, file, webhook"
			}
			d.mapping(n, path, known)
			given := 0
			for _, is := range []bool{h.Command != nil, h.File != "", h.Webhook != nil} {
				if is {
					given++
				}
			}
			if n.Kind == yaml.MappingNode && given != 1 && !d.complained(path) {
				d.errorf(n, path, "want exactly one of %s", want)
			}
			*dest = append(*dest, h)
		})
	}
}

func (d *decoder) command(dest *[]string, n *yaml.Node, path string) {
	if n.Kind == yaml.ScalarNode {
		d.errorf(n, path, "want a list of arguments, found %s; no shell is involved, so write [program, argument, ...]", found(n))
		return
	}
	args := []string{}
	d.sequence(n, path, func(n *yaml.Node, path string) {
		if !d.is(n, path, yaml.ScalarNode, "an argument") {
			return
		}
		if n.Tag == "!!null" || strings.Contains(n.Value, "\x00") {
			d.errorf(n, path, "want an argument, found %s", found(n))
			return
		}
		args = append(args, n.Value) // 1 and true are arguments too
	})
	if n.Kind == yaml.SequenceNode && (len(args) == 0 || args[0] == "") {
		d.errorf(n, path, "want a list that begins with a program")
		return
	}
	if strings.Contains(args[0], "/") {
		args[0] = d.resolve(args[0])
	}
	*dest = args
}

func (d *decoder) webhook(h *Hook, n *yaml.Node, path string) {
	h.Webhook = &Webhook{}
	d.mapping(n, path, fields{
		"url":         d.httpsURL(&h.Webhook.URL),
		"secret_file": d.readable(&h.Webhook.SecretFile, "the path of a file with the key that signs requests"),
	})
	if n.Kind == yaml.MappingNode && h.Webhook.URL == "" && !d.complained(path) {
		d.errorf(n, path, "url is missing: want an https URL")
	}
}

func (d *decoder) httpsURL(dest *string) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		if !d.textAt(dest, "an https URL", n, path) {
			return
		}
		u, err := url.Parse(*dest)
		if err != nil || u.Host == "" || (u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname()))) {
			d.errorf(n, path, "%.200q: want an https URL (http to this machine only)", *dest)
		}
	}
}

func (d *decoder) timeout(dest *time.Duration) func(*yaml.Node, string) {
	const want = "a duration from 1s to 1h"
	return func(n *yaml.Node, path string) {
		var s string
		if !d.textAt(&s, want, n, path) {
			return
		}
		timeout, err := ParseDuration(s)
		if err != nil || timeout < time.Second || timeout > time.Hour {
			d.errorf(n, path, "%.100q: want %s", s, want)
			return
		}
		*dest = timeout
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// publishFiles refuses two publications that would overwrite each other.
func (d *decoder) publishFiles(cert Certificate, n *yaml.Node, path string, taken map[string]int) {
	for i, ch := range cert.Channels {
		for j, h := range ch.Publish {
			if h.File == "" {
				continue
			}
			if line, twice := taken[h.File]; twice {
				d.errorf(n, fmt.Sprintf("%s.channels[%d].publish[%d].file", path, i, j), "%q is published to already, by the certificate in line %d", h.File, line)
			}
			taken[h.File] = n.Line
		}
	}
}

func (d *decoder) resolve(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(d.dir, path)
}

func (d *decoder) path(dest *string, want string) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		if d.textAt(dest, want, n, path) {
			*dest = d.resolve(*dest)
		}
	}
}

// readable reads the path of a file that must be there and readable.
func (d *decoder) readable(dest *string, want string) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		if !d.textAt(dest, want, n, path) {
			return
		}
		*dest = d.resolve(*dest)
		f, err := os.Open(*dest)
		if err != nil {
			d.errorf(n, path, "%v", err)
			return
		}
		f.Close()
	}
}

func (d *decoder) directory(dest *string, want string) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		if !d.textAt(dest, want, n, path) {
			return
		}
		*dest = d.resolve(*dest)
		info, err := os.Stat(*dest)
		switch {
		case err != nil:
			d.errorf(n, path, "%v", err)
		case !info.IsDir():
			d.errorf(n, path, "%s is not a directory", *dest)
		}
	}
}

func (d *decoder) listen(dest *string) func(*yaml.Node, string) {
	const want = `an address to listen on, such as ":80" or "192.0.2.1:80"`
	return func(n *yaml.Node, path string) {
		if !d.textAt(dest, want, n, path) {
			return
		}
		if _, port, err := net.SplitHostPort(*dest); err != nil || !validPort(port) {
			d.errorf(n, path, "%.100q: want %s", *dest, want)
		}
	}
}

func (d *decoder) addresses(dest *[]string, defaultPort, want string) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		d.sequence(n, path, func(n *yaml.Node, path string) {
			var s string
			if !d.textAt(&s, want, n, path) {
				return
			}
			host, port, err := net.SplitHostPort(s)
			if err != nil {
				host, port = strings.Trim(s, "[]"), defaultPort
			}
			if _, err := ParseDomain(host); (err != nil && net.ParseIP(host) == nil && host != "localhost") || !validPort(port) {
				d.errorf(n, path, "%.100q: want %s", s, want)
				return
			}
			*dest = append(*dest, net.JoinHostPort(host, port))
		})
	}
}

func validPort(s string) bool {
	port, err := strconv.Atoi(s)
	return err == nil && port >= 1 && port <= 65535
}

func sortedKeys(m map[string]string) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
