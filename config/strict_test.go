package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// complete lists files with all the messages that each gives.
var complete = []struct {
	name, yaml string
	want       []string
}{
	{"a command that is a mapping", certificate("domains: [a.example.com]\n   deploy: [{command: {a: b}}]"), []string{
		"/c.yaml:4: certificates[0].deploy[0].command: want a list, found keys and values",
	}},
	{"a command that is an alias", certificate("domains: [a.example.com]\n   deploy: [{command: &x [a]}, {command: *x}]"), []string{
		"/c.yaml:4: certificates[0].deploy[0].command: anchors (&x) are not supported: write the value out",
		"/c.yaml:4: certificates[0].deploy[1].command: aliases (*x) are not supported: write the value out",
	}},
	{"a command to read back with that is a mapping", channel("{name: a, format: json, lifetime: 1d, read_back: {command: {}}, publish: [{file: a}]}"), []string{
		"/c.yaml:4: certificates[0].channels[0].read_back.command: want a list, found keys and values",
	}},
	{"an empty argument", certificate("domains: [a.example.com]\n   deploy: [{command: [a, \"\"]}]"), []string{
		`/c.yaml:4: certificates[0].deploy[0].command[1]: want an argument, found ""`,
	}},
	{"a merge key", certificate("domains: [a.example.com]\n   <<: {name: b}"), []string{
		"/c.yaml:4: certificates[0]: a key must be a plain word; accepted: acme, backups, challenge, channels, check, deploy, domains, key_type, name, rollover",
	}},
	{"an anchor on a key", certificate("domains: [a.example.com]\n   &k name: b"), []string{
		"/c.yaml:4: certificates[0]: a key must be a plain word; accepted: acme, backups, challenge, channels, check, deploy, domains, key_type, name, rollover",
	}},
	{"escape codes said to be a number", minimal + `state: !!int "\e[31m"`, []string{
		`/c.yaml:4: state: want the path of the state directory, found the number \x1b[31m`,
	}},
	{"control characters beyond ASCII", minimal + `state: "/a\u009b31m"`, []string{
		`/c.yaml:4: state: want the path of the state directory, found "/a\u009b31m" with control characters`,
	}},
	{"a path that writes from right to left", `acme: {accept_terms: true, ca_bundle: "/no\u202ex.pem"}` + "\ncertificates: [{domains: [a.example.com]}]", []string{
		`/c.yaml:1: acme.ca_bundle: cannot read "/no\u202ex.pem": no such file or directory`,
	}},
	{"a bundle that is a directory", "acme: {accept_terms: true, ca_bundle: /}\ncertificates: [{domains: [a.example.com]}]", []string{
		`/c.yaml:1: acme.ca_bundle: "/" is a directory: want the path of a file with certificates in PEM`,
	}},
	{"a tab in the first line", "\tacme: 1", []string{"/c.yaml:1: the line is indented by a tab: want spaces"}},
	{"a control character", "acme: 1\nstate: a\x01b\n", []string{"/c.yaml:2: control characters are not allowed: U+0001"}},
	{"comments only", "# nothing\n", []string{"/c.yaml: the file is empty"}},
	{"null", "~", []string{"/c.yaml:1: want keys and values, found nothing"}},
	{"a channel with all it can lack", channel("{name: A, format: xml}"), []string{
		"/c.yaml:4: certificates[0].channels[0].name: \"A\" is not a valid channel name: want lower-case letters, digits and '-', at most 64, beginning with a letter or digit",
		`/c.yaml:4: certificates[0].channels[0].format: "xml" is not a format: want json`,
		"/c.yaml:4: certificates[0].channels[0]: lifetime is missing: want how long a client goes on enforcing a pin set that it got, such as 30d, or forever when there is no limit",
		"/c.yaml:4: certificates[0].channels[0]: publish is missing: want a list with at least one hook",
	}},
	{"a channel that publishes nowhere", channel("{name: a, format: json, lifetime: 1d, publish: []}"), []string{
		"/c.yaml:4: certificates[0].channels[0].publish: want a list with at least one hook",
	}},
	{"two CAs of their own without terms", `acme: {accept_terms: true}
certificates:
  - domains: [a.example.com]
    acme: {directory: "https://ca.example/d"}
  - domains: [b.example.com]
    acme:
      directory: https://ca.example/d
      accept_terms: false
`, []string{
		"/c.yaml:4: certificates[0].acme.accept_terms: read the terms of service of https://ca.example/d and set accept_terms: true",
		"/c.yaml:8: certificates[1].acme.accept_terms: read the terms of service of https://ca.example/d and set accept_terms: true",
	}},
	{"the terms of all forgotten", `acme: {email: ops@example.com}
certificates:
  - domains: [a.example.com]
  - {domains: [b.example.com], acme: {profile: tlsserver}}
`, []string{
		"/c.yaml:1: acme.accept_terms: read the terms of service of https://acme-v02.api.letsencrypt.org/directory and set accept_terms: true",
	}},
	{"its own CA, which is not a CA", certificate("domains: [a.example.com]\n   acme: {directory: \"ftp://x\"}"), []string{
		`/c.yaml:4: certificates[0].acme.directory: "ftp://x" is not an ACME directory: want an https URL, or one of google, google-staging, letsencrypt, letsencrypt-staging, zerossl`,
	}},
	{"a wildcard in its own line", certificate("domains:\n   - a.example.com\n   - '*.example.com'"), []string{
		`/c.yaml:5: certificates[0].domains[1]: "*.example.com" is a wildcard, which CAs issue for dns-01 only: set challenge to dns-01`,
	}},
	{"two certificates that publish to one file", `acme: {accept_terms: true}
certificates:
  - domains: [a.example.com]
    channels: [{name: a, format: json, lifetime: 1d, publish: [{file: x}]}]
  - domains: [b.example.com]
    channels:
      - name: a
        format: json
        lifetime: 1d
        publish:
          - file: ./x
`, []string{`/c.yaml:11: certificates[1].channels[0].publish[0].file: "/x" is already published to, in line 4`}},
	{"a rollover that never ends", certificate("domains: [a.example.com]\n   rollover: {keep_old_pin: 30d, every: 2w}\n   channels: []"), []string{
		"/c.yaml:3: certificates[0].rollover: every (14d) must be longer than keep_old_pin (30d): a rollover begins only when the previous one is over",
	}},
	{"rollovers of a key whose clients nobody knows", certificate("domains: [a.example.com]\n   rollover: {every: 365d}"), []string{
		"/c.yaml:3: certificates[0]: rollover.every needs channels, or no rollover would ever happen: list those by which clients get pins, or channels: [] if nobody pins",
	}},
	{"a lifetime of less than a second", channel("{name: a, format: json, lifetime: 500ms, publish: [{file: a}]}"), []string{
		`/c.yaml:4: certificates[0].channels[0].lifetime: "500ms": want a duration such as 30d, from 1s, or forever`,
	}},
	{"a cache that never ends", channel("{name: a, format: json, lifetime: 1d, cache: forever, publish: [{file: a}]}"), []string{
		`/c.yaml:4: certificates[0].channels[0].cache: "forever": want a duration such as 1h, at most 366d`,
	}},
	{"a format and nothing to publish", channel("{name: a, format: json, lifetime: 1d, confirm: manual}"), []string{
		"/c.yaml:4: certificates[0].channels[0]: publish is missing: want a list with at least one hook",
	}},
	{"rollovers all the time", certificate("domains: [a.example.com]\n   rollover: {every: 1h, keep_old_pin: 400d}"), []string{
		`/c.yaml:4: certificates[0].rollover.every: "1h": want a duration such as 365d, from 1d to 3660d`,
		`/c.yaml:4: certificates[0].rollover.keep_old_pin: "400d": want a duration such as 7d, at most 366d`,
	}},
	{"a URL without a host", certificate(`domains: [a.example.com]` + "\n   deploy: [{webhook: {url: \"https://:443\"}}]"), []string{
		`/c.yaml:4: certificates[0].deploy[0].webhook.url: "https://:443": want an https URL (http to this machine only)`,
	}},
	{"addresses that are not addresses", certificate("domains: [a.example.com]\n   check: [\"*.example.com\", \"a:+80\", \"[::1\", \"a:0\", \"1.2.3\",\n     \"https://a.example.com\", \"smtp://a.example.com/\", \"smtp://\", \"://a\"]\n   challenge: {tls-alpn-01: {listen: \"a b:80\"}}"), []string{
		`/c.yaml:4: certificates[0].check[0]: "*.example.com": want an address as host or host:port where TLS begins at once, with smtp://, imap://, pop3://, ldap://, xmpp:// or postgres:// before it for STARTTLS`,
		`/c.yaml:4: certificates[0].check[1]: "a:+80": want an address as host or host:port where TLS begins at once, with smtp://, imap://, pop3://, ldap://, xmpp:// or postgres:// before it for STARTTLS`,
		`/c.yaml:4: certificates[0].check[2]: "[::1": want an address as host or host:port where TLS begins at once, with smtp://, imap://, pop3://, ldap://, xmpp:// or postgres:// before it for STARTTLS`,
		`/c.yaml:4: certificates[0].check[3]: "a:0": want an address as host or host:port where TLS begins at once, with smtp://, imap://, pop3://, ldap://, xmpp:// or postgres:// before it for STARTTLS`,
		`/c.yaml:4: certificates[0].check[4]: "1.2.3": want an address as host or host:port where TLS begins at once, with smtp://, imap://, pop3://, ldap://, xmpp:// or postgres:// before it for STARTTLS`,
		`/c.yaml:5: certificates[0].check[5]: "https://a.example.com": want an address as host or host:port where TLS begins at once, with smtp://, imap://, pop3://, ldap://, xmpp:// or postgres:// before it for STARTTLS`,
		`/c.yaml:5: certificates[0].check[6]: "smtp://a.example.com/": want an address as host or host:port where TLS begins at once, with smtp://, imap://, pop3://, ldap://, xmpp:// or postgres:// before it for STARTTLS`,
		`/c.yaml:5: certificates[0].check[7]: "smtp://": want an address as host or host:port where TLS begins at once, with smtp://, imap://, pop3://, ldap://, xmpp:// or postgres:// before it for STARTTLS`,
		`/c.yaml:5: certificates[0].check[8]: "://a": want an address as host or host:port where TLS begins at once, with smtp://, imap://, pop3://, ldap://, xmpp:// or postgres:// before it for STARTTLS`,
		`/c.yaml:6: certificates[0].challenge.tls-alpn-01.listen: "a b:80": want an address to listen on, such as ":80" or "192.0.2.1:80"`,
	}},
}

func TestWhatIsSaidOfAFileIsComplete(t *testing.T) {
	t.Parallel()
	for _, tt := range complete {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse("/c.yaml", []byte(tt.yaml), nil)
			var errs Errors
			if !errors.As(err, &errs) {
				t.Fatalf("error %v, want Errors", err)
			}
			if want := strings.Join(tt.want, "\n"); err.Error() != want {
				t.Errorf("got\n%s\nwant\n%s", err, want)
			}
		})
	}
}

func TestHostsAreBroughtToOneForm(t *testing.T) {
	t.Parallel()
	cfg, err := Parse("/c.yaml", []byte(`acme: {accept_terms: true}
resolvers: [192.0.2.53, "[2001:db8::53]", "2001:db8::54", "ns:5353"]
certificates:
  - domains: [a.example.com]
    challenge: {http-01: {listen: "LOCALHOST:80"}}
    check: [BÜCHER.example, "web1:8443", "[::1]:443", "smtp://MAIL.example", "imap://[::1]", "postgres://db:5433"]
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	cert := cfg.Certificates[0]
	got := fmt.Sprintf("%v %v %s", cfg.Resolvers, cert.Check, cert.Challenge.HTTP01.Listen)
	want := "[192.0.2.53:53 [2001:db8::53]:53 [2001:db8::54]:53 ns:5353] [xn--bcher-kva.example:443 web1:8443 [::1]:443 smtp://mail.example:25 imap://[::1]:143 postgres://db:5433] localhost:80"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestDomainsAtTheLimits(t *testing.T) {
	t.Parallel()
	longest := strings.Repeat("abcdefg.", 31) + "abcde" // 253 octets
	for in, want := range map[string]string{
		longest:                     longest,
		longest + ".":               longest,
		"*." + longest[2:]:          "*." + longest[2:],
		"a。example。":                "a.example",
		longest + "a":               "",
		"*." + longest:              "",
		"a.example.。":               "",
		"192.0.2.1.":                "",
		"１９２.0.2.1":                 "",
		strings.Repeat("ü", 1<<20):  "",
		strings.Repeat("a.", 1<<20): "",
	} {
		got, err := ParseDomain(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%.300q: got %q (%v), want %q", in, got, err, want)
		}
		if err != nil && len(err.Error()) > 2000 {
			t.Errorf("%.30q: the message has %d bytes", in, len(err.Error()))
		}
	}
}

func TestParseMakesPathsAbsolute(t *testing.T) {
	t.Parallel()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := Parse("c.yaml", []byte(minimal+"state: here"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.File != filepath.Join(dir, "c.yaml") || cfg.State != filepath.Join(dir, "here") {
		t.Errorf("file %s, state %s", cfg.File, cfg.State)
	}
}
