package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"keepkey/hooks"
	"keepkey/pinset"
)

const minimal = `acme: {accept_terms: true}
certificates:
  - domains: [api.example.com]
`

func TestMinimalConfigurationGetsDefaults(t *testing.T) {
	t.Parallel()
	got, err := Parse("/etc/keepkey/config.yaml", []byte(minimal), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		File: "/etc/keepkey/config.yaml", State: "/var/lib/keepkey",
		Certificates: []Certificate{{
			Name: "api.example.com", Domains: []string{"api.example.com"},
			ACME:    ACME{Directory: "https://acme-v02.api.letsencrypt.org/directory", AcceptTerms: true},
			KeyType: pinset.EC256, Backups: 1, KeepOldPin: week, ForceAfter: time.Hour,
			Challenge: Challenge{HTTP01: &HTTP01{Listen: ":80"}},
		}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

func TestExampleIsValidAndShowsEveryKey(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../config.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := Parse("/etc/keepkey/config.yaml", data, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(cfg.Certificates); n != 3 {
		t.Errorf("%d certificates, want 3", n)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var keys [][][]byte
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(file, "_test.go") {
			keys = append(keys, regexp.MustCompile(`(?m)^\s+"([a-z0-9_-]+)": +(?:d\.|func|\(\*decoder\))`).FindAllSubmatch(source, -1)...)
		}
	}
	if len(keys) < 25 {
		t.Fatalf("only %d keys were found: the test looks in the wrong place", len(keys))
	}
	for _, key := range keys {
		if !regexp.MustCompile(`\b` + string(key[1]) + `:`).Match(data) {
			t.Errorf("config.example.yaml does not show %s", key[1])
		}
	}
}

func TestAConfigurationThatIsReadAgainIsEqual(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../config.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	read := func() []Certificate {
		cfg, err := Parse("/etc/keepkey/config.yaml", data, nil)
		if err != nil {
			t.Fatal(err)
		}
		return cfg.Certificates
	}
	first := read()
	for i, cert := range read() {
		if !cert.Equal(first[i]) || len(cert.Channels) > 0 && cert.Channels[0].Format.Decode == nil {
			t.Errorf("%s is not as it was", cert.Name)
		}
	}
	for what, change := range map[string]func(*Certificate){
		"another domain":   func(c *Certificate) { c.Domains = append(c.Domains, "more.example.com") },
		"another CA":       func(c *Certificate) { c.ACME.Directory += "/other" },
		"another answer":   func(c *Certificate) { c.Challenge = Challenge{TLSALPN01: &TLSALPN01{Listen: ":443"}} },
		"another lifetime": func(c *Certificate) { c.Channels[0].Lifetime = pinset.Lifetime{Duration: time.Hour} },
		"another format":   func(c *Certificate) { c.Channels[0].Format.Name = "another" },
		"another hook":     func(c *Certificate) { c.Channels[0].Publish[0] = hooks.File{Path: "/another"} },
		"no channel":       func(c *Certificate) { c.Channels = nil },
	} {
		cert := read()[1]
		if change(&cert); cert.Equal(first[1]) {
			t.Errorf("%s makes no difference", what)
		}
	}
}

func TestReportsAreTakenOnlyWhereThatIsAskedFor(t *testing.T) {
	for text, want := range map[string]bool{"": false, "reports: false\n": false, "reports: true\nlisten: unix:/run/keepkey/http\n": true} {
		if cfg, err := Parse("/c.yaml", []byte(minimal+text), nil); err != nil || cfg.Reports != want {
			t.Errorf("%q: %+v, %v", text, cfg, err)
		}
	}
}

func TestCertificatesInheritFromTheTop(t *testing.T) {
	t.Parallel()
	cfg, err := Parse("/c.yaml", []byte(`
acme: {directory: letsencrypt, email: ops@example.com, accept_terms: true, profile: tlsserver, preferred_chain: X1}
defaults: {key_type: rsa2048, backups: 3, challenge: {tls-alpn-01: {}}}
certificates:
  - domains: [a.example.com]
  - domains: [b.example.com]
    key_type: ec384
    acme: {profile: shortlived}
  - domains: [c.example.com]
    challenge: {http-01: {listen: "127.0.0.1:5002"}}
    acme: {directory: "https://ca.example/dir", accept_terms: true}
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	a, b, c := cfg.Certificates[0], cfg.Certificates[1], cfg.Certificates[2]
	if a.KeyType != pinset.RSA2048 || a.Backups != 3 || a.Challenge.TLSALPN01.Listen != ":443" {
		t.Errorf("a did not take the defaults: %+v", a)
	}
	if b.KeyType != pinset.EC384 || b.ACME.Profile != "shortlived" || b.ACME.PreferredChain != "X1" || b.ACME.Email != "ops@example.com" {
		t.Errorf("b did not override what it names and inherit the rest: %+v", b)
	}
	if want := (ACME{Directory: "https://ca.example/dir", Email: "ops@example.com", AcceptTerms: true}); c.ACME != want {
		t.Errorf("c's own CA has %+v, want %+v", c.ACME, want)
	}
	if c.Challenge.TLSALPN01 != nil {
		t.Error("c's challenge did not replace the default one whole")
	}
}

func TestWhoCanReachTheListener(t *testing.T) {
	t.Parallel()
	for yaml, want := range map[string]Listen{
		"":                               {},
		"listen: unix:/run/keepkey/http": {Network: "unix", Address: "/run/keepkey/http"},
		"listen: unix:http":              {Network: "unix", Address: "/etc/http"},
		"listen: 127.0.0.2:8443":         {Network: "tcp", Address: "127.0.0.2:8443"},
		`listen: "[::1]:8443"`:           {Network: "tcp", Address: "[::1]:8443"},
		"listen: localhost:8443":         {Network: "tcp", Address: "localhost:8443"},
		"listen_public: true\nlisten: localhost:8443": {Network: "tcp", Address: "localhost:8443"},
		"listen_public: true\nlisten: \":8443\"":      {Network: "tcp", Address: ":8443", Public: true},
		"listen: \"[::]:8443\"\nlisten_public: true":  {Network: "tcp", Address: "[::]:8443", Public: true},
	} {
		cfg, err := Parse("/etc/c.yaml", []byte(minimal+yaml), nil)
		if err != nil {
			t.Errorf("%s: %v", yaml, err)
		} else if cfg.Listen != want {
			t.Errorf("%s: %+v, want %+v", yaml, cfg.Listen, want)
		}
	}
}

// bad lists mistakes, and what a person is told about each.
var bad = []struct{ name, yaml, want string }{
	{"empty", "", "/c.yaml: the file is empty"},
	{"not UTF-8", "state: \xff", "/c.yaml:1: the file is not UTF-8 text: it has the byte 0xff here"},
	{"a tab", "acme:\n\temail: x", "/c.yaml:2: the line is indented by a tab: want spaces"},
	{"two documents", minimal + "---\n" + minimal, "/c.yaml:4: a second document begins here; want only one"},
	{"a list", "- a", "/c.yaml:1: want keys and values, found a list"},
	{"nothing to do", "acme: {accept_terms: true}", "/c.yaml:1: certificates: no certificate is configured: want a list with at least one"},
	{"an unknown key", minimal + "certificats: []", `/c.yaml:4: unknown key "certificats"; did you mean "certificates"? accepted: acme, certificates, defaults, group, listen, listen_public, notify, operators, reports, resolvers, state`},
	{"an unknown key like no other", minimal + "zzzzzz: 1", `/c.yaml:4: unknown key "zzzzzz"; accepted: acme, certificates, defaults, group, listen, listen_public, notify, operators, reports, resolvers, state`},
	{"a key twice", minimal + "acme: {}", `/c.yaml:4: the key "acme" is given twice, first in line 1`},
	{"an alias", "acme: &a {accept_terms: true}\ncertificates: [{domains: [a.example.com], acme: *a}]", "/c.yaml:1: acme: anchors (&a) are not supported: write the value out"},
	{"a wrong type", minimal + "state: 7", "/c.yaml:4: state: want the path of the state directory, found the number 7"},
	{"nothing", minimal + "state:", "/c.yaml:4: state: want the path of the state directory, found nothing"},
	{"control characters", minimal + `state: "a\x1b[31m"`, `/c.yaml:4: state: want the path of the state directory, found "a\x1b[31m" with control characters`},
	{"reports that nobody can send", minimal + "reports: true", "/c.yaml:4: reports: clients can't report anything without `listen`, which says where the daemon answers, such as listen: unix:/run/keepkey/http"},
	{"reports in words", minimal + "reports: take them", `/c.yaml:4: reports: want true or false, found "take them"`},
	{"terms not accepted", "certificates: [{domains: [a.example.com]}]", "/c.yaml:1: acme.accept_terms: read the terms of service of https://acme-v02.api.letsencrypt.org/directory and set accept_terms: true"},
	{"terms not accepted in words", "acme: {accept_terms: sure}\ncertificates: []", `/c.yaml:1: acme.accept_terms: want true or false, found "sure"`},
	{"no such CA", "acme: {accept_terms: true, directory: letsencryptt}\ncertificates: []", `/c.yaml:1: acme.directory: "letsencryptt" is not an ACME directory: want an https URL, or one of google, google-staging, letsencrypt, letsencrypt-staging, zerossl`},
	{"a public CA whose clock is wrong", "acme: {accept_terms: true, ignore_clock: true}\ncertificates: []", `/c.yaml:1: acme.ignore_clock: the clock of https://acme-v02.api.letsencrypt.org/directory is right; set this machine's`},
	{"a CA whose name leads out of its directory", `acme: {accept_terms: true, directory: "https://../dir"}` + "\ncertificates: []", `/c.yaml:1: acme.directory: "https://../dir" is not an ACME directory`},
	{"a publication in the state directory", "state: /s\n" + channel("{name: a, format: json, lifetime: 1d, publish: [{file: /s/lineages/a/state.json}]}"), `/c.yaml:5: certificates[0].channels[0].publish[0].file: "/s/lineages/a/state.json" is in the state directory /s, where only keepkey's own files are: choose another place`},
	{"a read back in the state directory, which comes later", channel("{name: a, format: json, lifetime: 1d, publish: [{file: /p}], read_back: {file: ../s/a}}") + "\nstate: /s\n", `/c.yaml:4: certificates[0].channels[0].read_back.file: "/s/a" is in the state directory /s`},
	{"a password in an address", `acme: {accept_terms: true, directory: "http://me:secret@ca.example/x?key=secret"}` + "\ncertificates: []", `/c.yaml:1: acme.directory: "http://...@ca.example/x?..." is not an ACME directory`},
	{"a token in a webhook's address", channel(`{name: a, format: json, lifetime: 1d, publish: [{webhook: {url: "http://u:secret@hooks.example/a?token=secret"}}]}`), `/c.yaml:4: certificates[0].channels[0].publish[0].webhook.url: "http://...@hooks.example/a?...": want an https URL (http to this machine only)`},
	{"an address that others can reach", minimal + `listen: ":8443"`, `/c.yaml:4: listen: other machines can reach :8443, and would see the page: want a Unix socket, or an address of this machine alone such as "127.0.0.1:8443"; if others may see it, say so with listen_public: true`},
	{"a name that others may resolve", minimal + "listen: keepkey.example.com:8443", `/c.yaml:4: listen: other machines can reach keepkey.example.com:8443`},
	{"an address that others can reach, and no", minimal + "listen_public: false\nlisten: 192.0.2.1:8443", `/c.yaml:5: listen: other machines can reach 192.0.2.1:8443`},
	{"a port alone", minimal + "listen: 8443", `/c.yaml:4: listen: want the path of a socket such as unix:/run/keepkey/http, or an address such as "127.0.0.1:8443", found the number 8443`},
	{"an address without a port", minimal + "listen: localhost", `/c.yaml:4: listen: "localhost": want the path of a socket such as unix:/run/keepkey/http, or an address such as "127.0.0.1:8443"`},
	{"a socket without a path", minimal + `listen: "unix:"`, `/c.yaml:4: listen: "unix:": want the path of a socket, at most 103 bytes long`},
	{"a socket with a long path", minimal + "listen: unix:/" + strings.Repeat("x", 103), `/c.yaml:4: listen: "unix:/` + strings.Repeat("x", 103) + `": want the path of a socket, at most 103 bytes long`},
	{"a socket among keepkey's own files", minimal + "state: /s\nlisten: unix:/s/http", `/c.yaml:5: listen: "/s/http" is in the state directory /s, where only keepkey's own files are: choose another place`},
	{"nothing that could be public", minimal + "listen_public: true", "/c.yaml:4: listen_public: there is no `listen` that it could be about"},
	{"pin sets served nowhere", channel("{name: a, format: json, lifetime: 1d, publish: [{serve: true}]}"), "/c.yaml:4: certificates[0].channels[0].publish: serve needs `listen` at the top of the file, which says where the daemon answers, such as listen: unix:/run/keepkey/http"},
	{"pin sets that are not served", serving("publish: [{serve: false}]"), "/c.yaml:5: certificates[0].channels[0].publish[0].serve: want true; without the hook, the daemon does not serve the channel's pin sets"},
	{"pin sets served in some way", serving("publish: [{serve: {}}]"), "/c.yaml:5: certificates[0].channels[0].publish[0].serve: want true or false, found keys and values"},
	{"pin sets served twice", serving("publish: [{serve: true}, {file: /p}, {serve: true}]"), "/c.yaml:5: certificates[0].channels[0].publish: serve is given twice, and once is enough"},
	{"pin sets served that a person confirms", serving("publish: [{serve: true}], confirm: manual"), "/c.yaml:5: certificates[0].channels[0].publish: serve and confirm: manual exclude each other: clients get what is served at once"},
	{"pin sets served that nobody may keep", serving("publish: [{serve: true}], cache: 0s"), "/c.yaml:5: certificates[0].channels[0].cache: want at least 1m with serve: a slow client takes that long to get the pin set that was served a moment ago"},
	{"a value that YAML reserves", "acme: {accept_terms: true}\ncertificates: [{domains: [@a]}]", "/c.yaml:2: found character that cannot start any token: put the value in quotes"},
	{"an IP address", certificate("domains: [192.0.2.1]"), `/c.yaml:3: certificates[0].domains[0]: "192.0.2.1" is an IP address, for which keepkey obtains no certificates`},
	{"a command in one piece", certificate(`domains: [a.example.com]` + "\n   " + `deploy: [{command: ["systemctl reload nginx"]}]`), `/c.yaml:4: certificates[0].deploy[0].command: there is no program "systemctl reload nginx": if these are a program and its arguments, write them apart: [systemctl, reload, nginx]`},
	{"a CA without TLS", `acme: {accept_terms: true, directory: "http://ca.example"}` + "\ncertificates: []", `/c.yaml:1: acme.directory: "http://ca.example" is not an ACME directory`},
	{"no e-mail address", "acme: {accept_terms: true, email: ops}\ncertificates: []", `/c.yaml:1: acme.email: "ops" is not an e-mail address`},
	{"a missing bundle", "acme: {accept_terms: true, ca_bundle: no.pem}\ncertificates: []", "/c.yaml:1: acme.ca_bundle: cannot read \"/no.pem\": no such file or directory"},
	{"half a binding", "acme: {accept_terms: true, eab: {kid: k}}\ncertificates: []", "/c.yaml:1: acme.eab: want both kid and hmac_file"},
	{"no domains", "acme: {accept_terms: true}\ncertificates: [{name: a}]", "/c.yaml:2: certificates[0]: domains is missing: want a list with at least one domain name"},
	{"an empty list of domains", certificate("domains: []"), "/c.yaml:3: certificates[0].domains: 0 domain names: want 1 to 100"},
	{"a domain twice", certificate("domains: [a.example.com, A.example.com.]"), `/c.yaml:3: certificates[0].domains[1]: "a.example.com" is listed twice`},
	{"a wildcard with HTTP-01", certificate(`domains: ["*.example.com"]`), `/c.yaml:3: certificates[0].domains[0]: "*.example.com" is a wildcard, which CAs issue for dns-01 only: set challenge to dns-01`},
	{"two of a name", "acme: {accept_terms: true}\ncertificates:\n - domains: [a.example.com]\n - domains: [b.example.com]\n   name: a.example.com", "/c.yaml:4: certificates[1].name: the name \"a.example.com\" is taken by the certificate in line 3; give one of them another `name`"},
	{"a name that is a path", certificate("domains: [a.example.com]\n   name: ../x"), `/c.yaml:4: certificates[0].name: "../x" is not a valid name: want lower-case letters`},
	{"no such key type", certificate("domains: [a.example.com]\n   key_type: ed25519"), `/c.yaml:4: certificates[0].key_type: "ed25519" is not a key type: want ec256, ec384, rsa2048, rsa3072, rsa4096`},
	{"no backup key", certificate("domains: [a.example.com]\n   backups: 0"), "/c.yaml:4: certificates[0].backups: want a whole number from 1 to 10, found the number 0"},
	{"two challenges", certificate("domains: [a.example.com]\n   challenge: {http-01: {listen: \":80\"}, tls-alpn-01: {}}"), "/c.yaml:4: certificates[0].challenge: want exactly one of http-01, tls-alpn-01, dns-01"},
	{"a challenge misspelt", certificate("domains: [a.example.com]\n   challenge: {htp-01: {}}"), `/c.yaml:4: certificates[0].challenge: unknown key "htp-01"; did you mean "http-01"? accepted: dns-01, http-01, tls-alpn-01`},
	{"HTTP-01 both ways", certificate("domains: [a.example.com]\n   challenge: {http-01: {listen: \":80\", webroot: /}}"), "/c.yaml:4: certificates[0].challenge.http-01: want either listen or webroot"},
	{"no such port", certificate("domains: [a.example.com]\n   challenge: {http-01: {listen: \":99999\"}}"), `/c.yaml:4: certificates[0].challenge.http-01.listen: ":99999": want an address to listen on`},
	{"a webroot that is a file", certificate("domains: [a.example.com]\n   challenge: {http-01: {webroot: /etc/passwd}}"), `/c.yaml:4: certificates[0].challenge.http-01.webroot: "/etc/passwd" is not a directory`},
	{"no DNS provider", certificate("domains: [a.example.com]\n   challenge: {dns-01: {}}"), "/c.yaml:4: certificates[0].challenge.dns-01: provider is missing: want the name of a DNS provider"},
	{"no such propagation", certificate("domains: [a.example.com]\n   challenge: {dns-01: {provider: exec, propagation: never}}"), `/c.yaml:4: certificates[0].challenge.dns-01.propagation: "never": want authoritative, resolvers, or a duration to wait instead (at most 1h)`},
	{"a channel without a lifetime", channel("{name: a, format: json, publish: [{file: a}]}"), "/c.yaml:4: certificates[0].channels[0]: lifetime is missing: want how long a client goes on enforcing"},
	{"a lifetime of nothing", channel("{name: a, format: json, lifetime: 0s, publish: [{file: a}]}"), `/c.yaml:4: certificates[0].channels[0].lifetime: "0s": want a duration such as 30d, from 1s, or forever`},
	{"a channel that is confirmed in two ways", channel("{name: a, format: json, lifetime: 1d, confirm: manual, read_back: {file: a}, publish: [{file: a}]}"), "/c.yaml:4: certificates[0].channels[0]: confirm: manual and read_back exclude each other"},
	{"read back from nowhere", channel("{name: a, format: json, lifetime: 1d, read_back: {timeout: 5s}, publish: [{file: a}]}"), "/c.yaml:4: certificates[0].channels[0].read_back: want exactly one of command, file, url"},
	{"confirmed somehow", channel("{name: a, format: json, lifetime: 1d, confirm: maybe, publish: [{file: a}]}"), `/c.yaml:4: certificates[0].channels[0].confirm: "maybe": want automatic or manual`},
	{"no such format", channel("{name: a, format: xml, lifetime: 1d, publish: [{file: a}]}"), `/c.yaml:4: certificates[0].channels[0].format: "xml" is not a format: want json`},
	{"two channels of a name", channel("{name: a, format: json, lifetime: 1d, publish: [{file: a}]}, {name: a, format: json, lifetime: 1d, publish: [{file: b}]}"), `/c.yaml:4: certificates[0].channels[1].name: the name "a" is taken by the channel in line 4`},
	{"two publications to one file", channel("{name: a, format: json, lifetime: 1d, publish: [{file: a}, {file: ./a}]}"), `/c.yaml:4: certificates[0].channels[0].publish[1].file: "/a" is already published to, in line 4`},
	{"a hook that is nothing", channel("{name: a, format: json, lifetime: 1d, publish: [{timeout: 5s}]}"), "/c.yaml:4: certificates[0].channels[0].publish[0]: want exactly one of command, file, serve, webhook"},
	{"a hook that is two things", channel("{name: a, format: json, lifetime: 1d, publish: [{file: a, command: [b]}]}"), "/c.yaml:4: certificates[0].channels[0].publish[0]: want exactly one of command, file, serve, webhook"},
	{"a deploy hook to a file", certificate("domains: [a.example.com]\n   deploy: [{file: a}]"), `/c.yaml:4: certificates[0].deploy[0]: unknown key "file"; accepted: command, timeout, webhook`},
	{"a command line", certificate("domains: [a.example.com]\n   deploy: [{command: systemctl reload nginx}]"), `/c.yaml:4: certificates[0].deploy[0].command: want a list of arguments, found "systemctl reload nginx"; no shell is involved, so write [program, argument, ...]`},
	{"no command", certificate("domains: [a.example.com]\n   deploy: [{command: []}]"), "/c.yaml:4: certificates[0].deploy[0].command: want a list that begins with a program"},
	{"too patient", certificate("domains: [a.example.com]\n   deploy: [{command: [a], timeout: 2h}]"), `/c.yaml:4: certificates[0].deploy[0].timeout: "2h": want a duration from 1s to 1h`},
	{"a webhook in the clear", certificate(`domains: [a.example.com]` + "\n   deploy: [{webhook: {url: \"http://example.com\"}}]"), `/c.yaml:4: certificates[0].deploy[0].webhook.url: "http://example.com": want an https URL (http to this machine only)`},
	{"a notification to a file", minimal + "notify: [{file: a}]", `/c.yaml:4: notify[0]: unknown key "file"; accepted: command, email, timeout, webhook`},
	{"a notification that takes its time", minimal + "notify: [{command: [a], timeout: 10m}]", `/c.yaml:4: notify[0].timeout: "10m": want a duration from 1s to 5m`},
	{"a notification twice", minimal + "notify: [{email: root}, {command: [a]}, {email: [root], timeout: 5s}]", "/c.yaml:4: notify[2]: this does the same as notify[0]"},
	{"a notification to nobody", minimal + "notify: [{email: []}]", "/c.yaml:4: notify[0].email: 0 addresses: want 1 to 50"},
	{"a notification to nobody in particular", minimal + "notify: [{email: {smtp: \"localhost:25\"}}]", "/c.yaml:4: notify[0].email: to is missing: want an e-mail address"},
	{"an address that is two", minimal + `notify: [{email: "a@example.com, b@example.com"}]`, `/c.yaml:4: notify[0].email: "a@example.com, b@example.com" is not an e-mail address`},
	{"an address with a header", minimal + `notify: [{email: ["a@example.com\nBcc: b@example.com"]}]`, `/c.yaml:4: notify[0].email[0]: want an e-mail address, found "a@example.com\nBcc: b@example.com" with control characters`},
	{"a mail server elsewhere", minimal + `notify: [{email: {to: root, smtp: "mail.example.com:25"}}]`, `/c.yaml:4: notify[0].email.smtp: "mail.example.com:25": want a mail server on this machine, such as localhost:25`},
	{"an address to check that is not an address", certificate("domains: [a.example.com]\n   check: [\"a b\"]"), `/c.yaml:4: certificates[0].check[0]: "a b": want an address as host or host:port where TLS begins at once, with smtp://, imap://, pop3://, ldap://, xmpp:// or postgres:// before it for STARTTLS`},
}

func certificate(keys string) string {
	return "acme: {accept_terms: true}\ncertificates:\n - " + keys + "\n"
}

func channel(channels string) string {
	return certificate("domains: [a.example.com]\n   channels: [" + channels + "]")
}

// serving is a channel of a daemon that listens.
func serving(keys string) string {
	return "listen: unix:/run/http\n" + channel("{name: a, format: json, lifetime: 1d, "+keys+"}")
}

func TestMistakesAreExplained(t *testing.T) {
	t.Parallel()
	for _, tt := range bad {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse("/c.yaml", []byte(tt.yaml), nil)
			var errs Errors
			if !errors.As(err, &errs) {
				t.Fatalf("error %v, want Errors", err)
			}
			if first := errs[0].Error(); !strings.HasPrefix(first, tt.want) {
				t.Errorf("got  %s\nwant %s", err, tt.want)
			}
		})
	}
}

func TestAllMistakesAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := Parse("/c.yaml", []byte(`state: 7
acme: {accept_terms: maybe}
certificates:
  - domains: [nonsense]
    key_type: dsa
  - domians: [a.example.com]
`), nil)
	var errs Errors
	if !errors.As(err, &errs) {
		t.Fatal(err)
	}
	var lines []int
	for _, e := range errs {
		lines = append(lines, e.Line)
	}
	if want := []int{1, 2, 2, 4, 5, 6, 6}; !reflect.DeepEqual(lines, want) {
		t.Errorf("mistakes in lines %v, want %v:\n%v", lines, want, err)
	}
}

func TestParseDomain(t *testing.T) {
	t.Parallel()
	good := map[string]string{
		"api.example.com":                    "api.example.com",
		"API.Example.COM.":                   "api.example.com",
		"*.example.com":                      "*.example.com",
		"bücher.example":                     "xn--bcher-kva.example",
		"*.BÜCHER.example":                   "*.xn--bcher-kva.example",
		"xn--bcher-kva.example":              "xn--bcher-kva.example",
		"点看.example":                         "xn--3pxu8k.example",
		strings.Repeat("a", 63) + ".example": strings.Repeat("a", 63) + ".example",
	}
	for in, want := range good {
		if got, err := ParseDomain(in); got != want || err != nil {
			t.Errorf("%q: got %q (%v), want %q", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", ".", "*", "*.", "com", "a..example", ".example.com", "a.example..", "*.*.example.com", "a.*.example.com", "**.example.com",
		"../../etc/x", "a/b.example", `a\b.example`, "a b.example", "a\x00.example", "a\r\n.example", "a_b.example",
		"-a.example", "a-.example", "192.0.2.1", "2001:db8::1", "a.123", "xn--a.example", "xn--zzzzzzzz-.example",
		strings.Repeat("a", 64) + ".example", strings.Repeat("abcdefg.", 32) + "example",
	} {
		if got, err := ParseDomain(in); err == nil {
			t.Errorf("%q is taken for %q", in, got)
		}
	}
}

func TestDurationsAreReadAndWritten(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]time.Duration{
		"0": 0, "90s": 90 * time.Second, "1h30m": 90 * time.Minute, "30d": 30 * day, "1w2d": 9 * day, "1.5d": 36 * time.Hour,
	} {
		got, err := ParseDuration(in)
		if got != want || err != nil {
			t.Errorf("%q: got %s (%v), want %s", in, got, err, want)
		}
		if again, err := ParseDuration(FormatDuration(got)); again != got || err != nil {
			t.Errorf("%q is written as %q, which reads as %s (%v)", in, FormatDuration(got), again, err)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0", 7 * day: "7d", 365 * day: "365d", 90 * time.Minute: "1h30m", 36 * time.Hour: "1d12h", time.Second + time.Nanosecond: "1s1ns",
	} {
		if got := FormatDuration(d); got != want {
			t.Errorf("%s is written as %q, want %q", d, got, want)
		}
	}
	for _, in := range []string{"", "-1d", "1", "1y", "d", "1d 2h", "1e9d", "99999999999999999d", "9999999w9999999w"} {
		if got, err := ParseDuration(in); err == nil {
			t.Errorf("%q is taken for %s", in, got)
		}
	}
}

func TestLoadNamesAMissingFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if _, err := Load(path, nil); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "--config") {
		t.Errorf("error %v, want one that names the file and the flag", err)
	}
}

func TestFileThatEverybodyCanWriteIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(minimal), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, nil); err == nil || !strings.Contains(err.Error(), "chmod o-w") {
		t.Errorf("error %v, want one that says what to do", err)
	}
}

func TestRelativePathsCountFromTheFile(t *testing.T) {
	t.Parallel()
	cfg, err := Parse("/etc/keepkey/config.yaml", []byte(`state: state
acme: {accept_terms: true}
certificates:
  - domains: [a.example.com]
    channels: [{name: c, format: json, lifetime: 1d, publish: [{file: pins.json}, {command: [bin/up, pins.json]}, {command: [up]}]}]
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.State != "/etc/keepkey/state" {
		t.Errorf("state %s", cfg.State)
	}
	got := cfg.Certificates[0].Channels[0].Publish
	want := []hooks.Hook{
		hooks.File{Path: "/etc/keepkey/pins.json"},
		hooks.Command{Args: []string{"/etc/keepkey/bin/up", "pins.json"}, Timeout: time.Minute},
		hooks.Command{Args: []string{"up"}, Timeout: time.Minute},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}
