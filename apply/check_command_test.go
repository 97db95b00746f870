package apply_test

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/hooks"
	"keepkey/internal/acmetest"
	"keepkey/pinset"
	"keepkey/pinset/format"
	"keepkey/plan"
	"keepkey/status"
)

// checked is what a person is told of a lineage that is looked at.
func (w *world) checked(cert config.Certificate) status.Check {
	w.t.Helper()
	before := w.records(cert)
	in, found, err := w.runner().Check(w.t.Context(), cert)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.records(cert) != before {
		w.t.Error("a check put something on record")
	}
	return status.CheckOf(in, found)
}

// records is all that is on record of a lineage.
func (w *world) records(cert config.Certificate) string {
	var all string
	for _, name := range []string{"state.json", "ledger.jsonl"} {
		data, _ := os.ReadFile(filepath.Join(w.dir, "state/lineages", cert.Name, name))
		all += string(data)
	}
	return all
}

// found are the codes of all that a check found wrong, sorted.
func found(c status.Check) []plan.Code {
	var codes []plan.Code
	for _, p := range c.Problems {
		codes = append(codes, p.Code)
	}
	for _, s := range c.Servers {
		for _, p := range s.Problems {
			codes = append(codes, p.Code)
		}
	}
	for _, ch := range c.Channels {
		for _, p := range ch.Problems {
			codes = append(codes, p.Code)
		}
	}
	slices.Sort(codes)
	return codes
}

// minted is a certificate of the CA for the lineage's own key, changed at will.
func (w *world) minted(cert config.Certificate, domains []string, change func(*x509.Certificate)) presents {
	w.t.Helper()
	pair, err := files(filepath.Join(w.dir, "state/lineages", cert.Name, "live"))()
	if err != nil {
		w.t.Fatal(err)
	}
	chain, err := w.ca.Mint(pair.PrivateKey.(crypto.Signer).Public(), domains, change)
	if err != nil {
		w.t.Fatal(err)
	}
	made := &tls.Certificate{PrivateKey: pair.PrivateKey}
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		made.Certificate = append(made.Certificate, block.Bytes)
	}
	return func() (*tls.Certificate, error) { return made, nil }
}

// stapling presents an OCSP response with a certificate.
func (w *world) stapling(get presents, change func(*ocsp.Response)) presents {
	w.t.Helper()
	issuer, key, err := w.ca.Issuer()
	if err != nil {
		w.t.Fatal(err)
	}
	pair, err := get()
	if err != nil {
		w.t.Fatal(err)
	}
	response := ocsp.Response{Status: ocsp.Good, SerialNumber: pair.Leaf.SerialNumber, ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}
	change(&response)
	staple, err := ocsp.CreateResponse(issuer, issuer, response, key)
	if err != nil {
		w.t.Fatal(err)
	}
	if response.Status == ocsp.ServerFailed {
		staple = []byte("no response")
	}
	return func() (*tls.Certificate, error) {
		pair := *pair
		pair.OCSPStaple = staple
		return &pair, nil
	}
}

func TestWhatServersPresentIsChecked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{RSA: true})
	cert := w.cert("api", "api.example.com")
	older, newest := w.lastMonths(cert)
	cert.Resolvers = []string{w.ca.DNS.Addr}
	other := stranger(t)
	alone := func() (*tls.Certificate, error) {
		c, err := files(newest)()
		if err == nil {
			c.Certificate = c.Certificate[:1]
		}
		return c, err
	}
	for _, tt := range []struct {
		name    string
		present presents
		status  status.Level
		codes   []plan.Code
		text    string
	}{
		{"the newest certificate", files(newest), status.LevelOK, nil, ""},
		{"last month's", files(older), status.LevelWarning, []plan.Code{plan.ServedCertificateOld}, "it serves certificate version 1, with serial"},
		{"one with the same key that is not on record", w.minted(cert, cert.Domains, nil), status.LevelWarning, []plan.Code{plan.ServedCertificateOld}, "it serves a certificate with serial"},
		{"another's", func() (*tls.Certificate, error) { return other, nil }, status.LevelCritical, []plan.Code{plan.ServedKeyUnknown}, "none of this lineage's"},
		{"without its issuer", alone, status.LevelCritical, []plan.Code{plan.ServedChainBroken}, `the server does not send "CN=Pebble Intermediate`},
		{"for other names", w.minted(cert, []string{"www.example.com"}, nil), status.LevelCritical, []plan.Code{plan.ServedCertificateOld, plan.ServedNameMissing}, "it is for www.example.com, and not for api.example.com"},
		{"expired", w.minted(cert, cert.Domains, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), status.LevelCritical, []plan.Code{plan.ServedCertificateInvalid, plan.ServedCertificateOld}, "it expired at"},
		{"not valid yet", w.minted(cert, cert.Domains, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }), status.LevelCritical, []plan.Code{plan.ServedCertificateInvalid, plan.ServedCertificateOld}, "it begins at"},
		{"about to end", w.minted(cert, cert.Domains, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-70*24*time.Hour), time.Now().Add(20*24*time.Hour)
		}), status.LevelWarning, []plan.Code{plan.ServedCertificateEnding, plan.ServedCertificateOld}, "ends soon, and was due for renewal"},
		{"at its end", w.minted(cert, cert.Domains, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-80*24*time.Hour), time.Now().Add(10*24*time.Hour)
		}), status.LevelCritical, []plan.Code{plan.ServedCertificateEnding, plan.ServedCertificateOld}, "ends soon"},
		{"with a good OCSP response", w.stapling(files(newest), func(*ocsp.Response) {}), status.LevelOK, nil, ""},
		{"with one that ended", w.stapling(files(newest), func(r *ocsp.Response) { r.NextUpdate = time.Now().Add(-time.Minute) }), status.LevelWarning, []plan.Code{plan.StapleWrong}, "it ended at"},
		{"revoked", w.stapling(files(newest), func(r *ocsp.Response) { r.Status, r.RevokedAt = ocsp.Revoked, time.Now() }), status.LevelCritical, []plan.Code{plan.StapleWrong}, "the CA revoked the certificate"},
		{"with a response for another", w.stapling(files(newest), func(r *ocsp.Response) { r.SerialNumber = other.Leaf.SerialNumber }), status.LevelWarning, []plan.Code{plan.StapleWrong}, "it can't be read"},
		{"with a response that is none", w.stapling(files(newest), func(r *ocsp.Response) { r.Status = ocsp.ServerFailed }), status.LevelWarning, []plan.Code{plan.StapleWrong}, "it can't be read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, cert := w.in(t), cert
			cert.Check = []string{serveTLS(t, tt.present)}
			got := w.checked(cert)
			if got.Status != tt.status || !slices.Equal(found(got), tt.codes) {
				t.Errorf("%s, %q: %+v", got.Status, found(got), got.Servers)
			}
			if len(got.Servers) != 1 {
				t.Fatalf("%d servers", len(got.Servers))
			}
			text := ""
			for _, p := range got.Servers[0].Problems {
				text += strings.Join(p.Lines(), "\n")
			}
			if !strings.Contains(text, tt.text) {
				t.Errorf("it says %q, want %q", text, tt.text)
			}
		})
	}
}

// The first certificate of a chain can be right, and the chain another: servers may send the
// root, or one chain of several, and are wrong where they send an issuer that did not sign.
func TestChainsThatServersPresent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{RSA: true})
	cert := w.cert("api", "api.example.com")
	_, newest := w.lastMonths(cert)
	root, err := w.ca.Root(0)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		change func(chain [][]byte) [][]byte
		codes  []plan.Code
	}{
		{"with the root", func(chain [][]byte) [][]byte { return append(chain, root.Raw) }, nil},
		{"twice", func(chain [][]byte) [][]byte { return append(chain, chain[1]) }, nil},
		{"with one of another CA, too", func(chain [][]byte) [][]byte { return append(chain, stranger(t).Certificate[0]) }, nil},
		{"with one of another CA", func(chain [][]byte) [][]byte { return append(chain[:1], stranger(t).Certificate[0]) }, []plan.Code{plan.ServedChainBroken}},
		{"with the root alone", func(chain [][]byte) [][]byte { return append(chain[:1], root.Raw) }, []plan.Code{plan.ServedChainBroken}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, cert := w.in(t), cert
			cert.Check = []string{serveTLS(t, func() (*tls.Certificate, error) {
				c, err := files(newest)()
				if err == nil {
					c.Certificate = tt.change(c.Certificate)
				}
				return c, err
			})}
			if got := w.checked(cert); !slices.Equal(found(got), tt.codes) {
				t.Errorf("%q: %+v", found(got), got.Servers)
			}
		})
	}
}

// After a switch servers are reloaded one after the other; that is worth a warning for an hour.
func TestTheOldKeyRightAfterASwitch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.cert("api", "api.example.com")
	cert.KeepOldPin = 24 * time.Hour
	w.mustRenew(cert, apply.Options{})
	if err := w.runner().Rotate(t.Context(), cert, apply.RotateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.mustRenew(cert, apply.Options{})
	cert.Check = []string{serveTLS(t, files(filepath.Join(w.dir, "state/lineages/api/certs/1")))}
	if got := w.checked(cert); got.Status != status.LevelWarning || !slices.Equal(found(got), []plan.Code{plan.ServedKeyWrong}) || !strings.Contains(got.Servers[0].Problems[0].Safe, "clients still accept the key from before") {
		t.Errorf("%s, %+v", got.Status, got.Servers)
	}
	w.offset = 2 * time.Hour
	if got := w.checked(cert); got.Status != status.LevelCritical || !slices.Equal(found(got), []plan.Code{plan.ServedKeyWrong}) {
		t.Errorf("after two hours: %s, %+v", got.Status, got.Servers)
	}
}

func TestEveryServerIsCheckedWhateverBecomesOfTheOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.cert("api", "api.example.com")
	older, newest := w.lastMonths(cert)
	noise, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { noise.Close() })
	go accept(noise, func(conn net.Conn) { _, _ = conn.Write(bytes.Repeat([]byte("\x1b[31m220-"), 1<<16)) })
	pool := w.pool("pool.example.com", files(older), nil, files(newest))
	if err := w.ca.DNS.Add("pool.example.com. AAAA fe80::1"); err != nil {
		t.Fatal(err)
	}
	cert.Resolvers = []string{w.ca.DNS.Addr}
	cert.Check = []string{"smtp://" + noise.Addr().String(), noise.Addr().String(), pool}
	var got []string
	for _, s := range w.checked(cert).Servers {
		line := string(s.Status) + " " + s.Address + " " + s.IP
		for _, p := range s.Problems {
			line += " " + string(p.Code)
		}
		got = append(got, line)
	}
	want := []string{
		"warning smtp://" + noise.Addr().String() + " 127.0.0.1 server-unreachable",
		"warning " + noise.Addr().String() + " 127.0.0.1 server-unreachable",
		"warning " + pool + " 127.0.0.2 served-certificate-old",
		"ok " + pool + " 127.0.0.3",
		"warning " + pool + " ::1 server-unreachable",
		"skipped " + pool + " fe80::1 server-unroutable",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTLSARecordsAreComparedWithWhatIsServed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{RSA: true})
	cert := w.cert("mail", "mail.example.com")
	w.mustRenew(cert, apply.Options{})
	live := filepath.Join(w.dir, "state/lineages/mail/live")
	pair, err := files(live)()
	if err != nil {
		t.Fatal(err)
	}
	issuer, _, err := w.ca.Issuer()
	if err != nil {
		t.Fatal(err)
	}
	sum := func(data []byte) string { s := sha256.Sum256(data); return hex.EncodeToString(s[:]) }
	key, whole := pair.Leaf.RawSubjectPublicKeyInfo, pair.Leaf.Raw
	wrong := strings.Repeat("00", 32)
	for name, tt := range map[string]struct {
		records  []string
		matching int
		codes    []plan.Code
	}{
		"none":                       {nil, 0, nil},
		"of the key":                 {[]string{"3 1 1 " + sum(key)}, 1, nil},
		"of the certificate":         {[]string{"3 0 1 " + sum(whole)}, 1, nil},
		"the whole key":              {[]string{"1 1 0 " + hex.EncodeToString(key)}, 1, nil},
		"of the key and of the next": {[]string{"3 1 1 " + wrong, "3 1 1 " + sum(key)}, 1, nil},
		"of another key":             {[]string{"3 1 1 " + wrong}, 0, []plan.Code{plan.TLSAWrong}},
		"of the CA":                  {[]string{"2 1 1 " + sum(issuer.RawSubjectPublicKeyInfo), "3 1 1 " + wrong}, 1, nil},
		"of a CA":                    {[]string{"2 1 1 " + wrong}, 0, []plan.Code{plan.TLSAUnknown}},
		"of a kind to come":          {[]string{"3 9 1 " + wrong}, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, cert := w.in(t), cert
			host := "host" + hex.EncodeToString([]byte(name)) + ".example.com"
			cert.Resolvers = []string{w.ca.DNS.Addr}
			cert.Check = []string{w.pool(host, files(live))}
			_, port, _ := net.SplitHostPort(cert.Check[0])
			for _, r := range tt.records {
				if err := w.ca.DNS.Add("_" + port + "._tcp." + host + ". TLSA " + r); err != nil {
					t.Fatal(err)
				}
			}
			got := w.checked(cert)
			if !slices.Equal(found(got), tt.codes) {
				t.Errorf("%q: %+v", found(got), got.Servers)
			}
			switch tlsa := got.Servers[0].TLSA; {
			case len(tt.records) == 0:
				if tlsa != nil {
					t.Errorf("%+v", tlsa)
				}
			case tlsa == nil || tlsa.Records != len(tt.records) || tlsa.Matching != tt.matching:
				t.Errorf("%+v, want %d of %d", tlsa, tt.matching, len(tt.records))
			}
		})
	}
}

func TestChannelsAreRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.cert("api", "api.example.com")
	cert.NobodyPins = false
	path := filepath.Join(w.dir, "pins.json")
	cert.Channels = []config.Channel{
		{Name: "app", Format: format.JSON, Lifetime: pinset.Lifetime{Duration: time.Hour}, Publish: []hooks.Hook{hooks.File{Path: path}}},
		{Name: "built-in", Lifetime: pinset.Lifetime{Forever: true}, Manual: true},
	}
	w.mustRenew(cert, apply.Options{})
	cert.Check = []string{serveTLS(t, files(filepath.Join(w.dir, "state/lineages/api/live")))}
	got := w.checked(cert)
	if len(got.Channels) != 2 || got.Channels[0].Status != status.LevelOK || got.Channels[0].Version != 1 || got.Channels[1].Status != status.LevelSkipped || got.Status != status.LevelOK {
		t.Errorf("%s: %+v", got.Status, got.Channels)
	}
	w.write("pins.json", []byte("{}"))
	got = w.checked(cert)
	if got.Status != status.LevelWarning || !slices.Equal(found(got), []plan.Code{plan.PublicationChanged}) || !strings.Contains(got.Channels[0].Problems[0].Subject, path) {
		t.Errorf("%s: %+v", got.Status, got.Channels)
	}
}

func TestNobodyCanTellBeforeTheFirstCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.cert("api", "api.example.com")
	if got := w.checked(cert); got.Status != status.LevelUnknown || !slices.Equal(found(got), []plan.Code{plan.NothingYet}) {
		t.Errorf("%+v", got)
	}
	w.mustRenew(cert, apply.Options{})
	cert.Domains = []string{"*.example.com"} // there is no telling which names are in use
	if got := w.checked(cert); got.Status != status.LevelUnknown || !slices.Equal(found(got), []plan.Code{plan.NothingToLookAt}) {
		t.Errorf("%+v", got)
	}
}
