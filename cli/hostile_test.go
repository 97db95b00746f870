package cli_test

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"keepkey/internal/acmetest"
	"keepkey/invariant"
)

// hostile is a way in which a CA, or whoever answers in its place, can be hostile.
type hostile struct {
	name   string
	fault  acmetest.Fault
	says   string // what a run says of it; "" where it succeeds all the same
	renews bool   // although the run ends with status 1
	names  int    // in the certificate; 0 means 1
	after  time.Duration

	// goesOn is for what would go on for minutes: the run is interrupted once this endpoint
	// was asked that many times.
	goesOn acmetest.Endpoint
	asked  int
	http1  bool // the CA does not speak HTTP/2
	paints bool // so that it is met with logs in text and in JSON; else these take turns
}

// The most that any of these may cost a whole run of keepkey. Without a fault a run takes
// some 27 MB and 20 ms; the worst of these took 47 MB (errors by the hundred thousand) and
// 0.3 s (a hundred names with headers of just under the limit). The test binary is larger
// than keepkey, since Pebble is in it.
const (
	maxMemory = 96 << 20
	maxCPU    = 2 * time.Second
	maxSaid   = 128 << 10 // bytes of output, with --log-level debug
)

// hostileModes are all of them. Package acme has more for the protocol alone.
func hostileModes() []hostile {
	const everything, directory, nonce, order = acmetest.Everything, acmetest.Directory, acmetest.NewNonce, acmetest.NewOrder
	const authz, finalize, certificate, polled = acmetest.Authorization, acmetest.Finalize, acmetest.Certificate, acmetest.Order
	type (
		doc  = map[string]any
		cert = x509.Certificate
	)
	forged := func(f acmetest.Forgery) acmetest.Fault {
		return acmetest.Issue(func(pub crypto.PublicKey, domains []string) ([]byte, error) { return acmetest.Forge(pub, domains, f) })
	}
	rewritten := func(f acmetest.Forgery, rewrite func([]byte) []byte) acmetest.Fault {
		return acmetest.Issue(func(pub crypto.PublicKey, domains []string) ([]byte, error) {
			chain, err := acmetest.Forge(pub, domains, f)
			return rewrite(chain), err
		})
	}
	set := func(e acmetest.Endpoint, key string, value any) acmetest.Fault {
		return acmetest.ChangeJSON(e, func(d doc) { d[key] = value })
	}
	challenges := func(f func(challenge doc)) acmetest.Fault {
		return acmetest.ChangeJSON(authz, func(d doc) {
			list, _ := d["challenges"].([]any)
			for _, ch := range list {
				f(ch.(doc))
			}
		})
	}
	failing := challenges(func(ch doc) {
		ch["error"] = doc{"type": "urn:ietf:params:acme:error:connection", "detail": "no route\u009b31m to \u202ehost", "status": 400}
	})
	pending := acmetest.Both(set(authz, "status", "pending"), failing)
	problem := func(e acmetest.Endpoint, status int, body string) acmetest.Fault {
		return acmetest.Respond(e, status, http.Header{"Content-Type": {"application/problem+json"}}, []byte(body))
	}
	serial := func(size uint) func(*cert) {
		return func(c *cert) { c.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 8*size-2) }
	}
	extension := func(size int, critical bool) func(*cert) {
		return func(c *cert) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: []int{1, 3, 6, 1, 4, 1, 99999}, Critical: critical, Value: make([]byte, size)})
		}
	}
	giant := func(bits uint) *rsa.PublicKey {
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		return &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537}
	}
	names := func(n int) func(*cert) {
		return func(c *cert) {
			for i := range n {
				c.DNSNames = append(c.DNSNames, "a-name-of-some-length-"+strconv.Itoa(i)+".example.com")
			}
		}
	}
	retry := func(after string) acmetest.Fault {
		return acmetest.Problem(order, http.StatusServiceUnavailable, "serverInternal", "go away", after)
	}
	window := func(body string) acmetest.Fault {
		return acmetest.Respond(acmetest.RenewalInfo, http.StatusOK, http.Header{"Retry-After": {"-99999999999999999999"}}, []byte(body))
	}
	const asked = 7 * time.Hour // until the CA is asked for its window again

	nowhere := []string{"https://127.0.0.1:1/\u009b31m\u202e"}

	modes := []hostile{
		// Certificates.
		{name: "a good chain of another CA", fault: forged(acmetest.Forgery{})},
		{name: "a serial number of 180,000 bytes", fault: forged(acmetest.Forgery{Leaf: serial(180_000)}), says: "bytes long, more than 65536"},
		{name: "a serial number of 60,000 bytes", fault: forged(acmetest.Forgery{Leaf: serial(60_000)}), says: "a serial number of 60000 bytes"},
		{name: "an issuer's serial number of 60,000 bytes", fault: forged(acmetest.Forgery{Issuer: serial(60_000)}), says: "a serial number of 60000 bytes"},
		{name: "an issuer's RSA key of 1,000,000 bits", fault: forged(acmetest.Forgery{IssuerKey: giant(1_000_000)}), says: "bytes long, more than 65536"},
		{name: "an issuer's RSA key of 500,000 bits", fault: forged(acmetest.Forgery{IssuerKey: giant(500_000)}), says: "an RSA key of 500000 bits"},
		{name: "an issuer's RSA key of 8,200 bits", fault: forged(acmetest.Forgery{IssuerKey: giant(8_200)}), says: "an RSA key of 8200 bits"},
		{name: "a critical extension that nobody knows", fault: forged(acmetest.Forgery{Leaf: extension(1, true)}), says: "unhandled critical extension"},
		{name: "names that the issuer may not have", fault: forged(acmetest.Forgery{Issuer: func(c *cert) {
			c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"example.org"}
		}}), says: "clients would refuse the certificate"},
		{name: "a path that is too long", fault: forged(acmetest.Forgery{Issuers: 2, Root: func(c *cert) { c.MaxPathLen, c.MaxPathLenZero = 0, true }}), says: "clients would refuse the certificate"},
		{name: "an issuer that may sign revocation lists only", fault: forged(acmetest.Forgery{Issuer: func(c *cert) { c.KeyUsage = x509.KeyUsageCRLSign }}), says: "does not link up"},
		{name: "an issuer that expired", fault: forged(acmetest.Forgery{Issuer: func(c *cert) { c.NotAfter = time.Now().Add(-time.Minute) }}), says: "expired at"},
		{name: "a certificate for 30 years", fault: forged(acmetest.Forgery{Leaf: func(c *cert) { c.NotAfter = c.NotBefore.AddDate(30, 0, 0) }, Issuer: func(c *cert) { c.NotAfter = c.NotBefore.AddDate(31, 0, 0) }, Root: func(c *cert) { c.NotAfter = c.NotBefore.AddDate(31, 0, 0) }})},
		{name: "a certificate with 30,000 names", fault: forged(acmetest.Forgery{Leaf: names(30_000)}), says: "more than 1048576 bytes"},
		{name: "a certificate with 1,500 names", fault: forged(acmetest.Forgery{Leaf: names(1_500)}), says: "for other names"},
		{name: "2,000 certificates", fault: rewritten(acmetest.Forgery{}, func(chain []byte) []byte {
			block, _ := pem.Decode(chain)
			return bytes.Repeat(pem.EncodeToMemory(block), 2000)[:1<<20]
		}), says: "more than 10"},
		{name: "a chain of 1,040,000 bytes without line breaks", fault: rewritten(acmetest.Forgery{Leaf: extension(775_000, false)}, unbroken), says: "bytes long, more than 65536"},
		{name: "the longest chain that is taken, without line breaks", fault: rewritten(acmetest.Forgery{Issuers: 8, Leaf: extension(60_000, false), Issuer: extension(60_000, false), Root: extension(60_000, false)}, unbroken)},
		{name: "PEM of a type of a megabyte", fault: acmetest.Respond(certificate, 200, nil, []byte("-----BEGIN "+strings.Repeat("X", 900_000)+"-----\nAAAA\n-----END "+strings.Repeat("X", 100_000)+"-----\n")), says: "not a certificate chain in PEM"},
		{name: "PEM of a type of 400,000 bytes", paints: true, fault: acmetest.Respond(certificate, 200, nil, []byte("-----BEGIN "+strings.Repeat("\u202eX", 100_000)+"-----\nAAAA\n-----END "+strings.Repeat("\u202eX", 100_000)+"-----\n")), says: "only CERTIFICATE belongs there"},
		{name: "900 KB of PEM garbage", fault: acmetest.Respond(certificate, 200, nil, bytes.Repeat([]byte("-----BEGIN CERTIFICATE-----\n"), 32_000)), says: "not a certificate chain in PEM"},
		{name: "900 KB of headers within PEM", fault: acmetest.Respond(certificate, 200, nil, []byte("-----BEGIN CERTIFICATE-----\n"+strings.Repeat("a: b\n", 180_000)+"\nAAAA\n-----END CERTIFICATE-----\n")), says: "certificate 1 of the chain"},

		// Size, before anything is looked at.
		{name: "headers of 9 MB on every answer", fault: acmetest.Headers(everything, 9<<20), names: 100, says: "the CA is unavailable"},
		{name: "headers of 9 MB on every answer, in HTTP/1.1", http1: true, fault: acmetest.Headers(everything, 9<<20), names: 100, says: "server response headers exceeded 65536 bytes"},
		{name: "headers of 9 MB on the answers about 100 names", fault: acmetest.Headers(authz, 9<<20), names: 100, says: "the CA is unavailable"},
		{name: "headers of 9 MB on the answers about 100 names, in HTTP/1.1", http1: true, fault: acmetest.Headers(authz, 9<<20), names: 100, says: "server response headers exceeded 65536 bytes"},
		{name: "headers of 48 KB on every answer", fault: acmetest.Headers(everything, 48<<10), names: 100},
		{name: "a bomb of 1 GiB for a certificate", fault: acmetest.Bomb(certificate, 200, 1000), says: "more than 1048576 bytes"},
		{name: "a bomb of 1 GiB for an order", fault: acmetest.Bomb(order, 201, 1000), says: "more than 1048576 bytes"},
		{name: "a bomb of 1 GiB for an error", fault: acmetest.Bomb(order, 500, 1000), says: "more than 1048576 bytes"},
		{name: "a directory of 300 MiB", fault: acmetest.Flood(directory, 200, 300<<20), says: "more than 1048576 bytes"},
		{name: "JSON of half a million levels", fault: acmetest.Respond(order, 201, nil, bytes.Repeat([]byte("["), 500_000)), says: "new order"},
		{name: "JSON of a hundred thousand members", fault: acmetest.Respond(order, 201, nil, []byte("{"+strings.TrimSuffix(strings.Repeat(`"a":[],`, 100_000), ",")+"}")), says: "new order"},
		{name: "an error of a megabyte", paints: true, fault: problem(order, 400, `{"type":"x","detail":"`+strings.Repeat("woe\u202e\\n", 100_000)+`"}`), says: "woe"},
		{name: "an error of a hundred thousand errors", fault: problem(order, 400, `{"type":"x","detail":"y","subproblems":[`+strings.TrimSuffix(strings.Repeat(`{"a":1},`, 100_000), ",")+`]}`), says: "y"},
		{name: "twenty thousand challenges", fault: acmetest.ChangeJSON(authz, func(d doc) {
			d["status"], d["challenges"] = "pending", make([]doc, 20_000)
		}), says: "offers no http-01 challenge"},
		{name: "ten thousand authorizations", fault: acmetest.ChangeJSON(order, func(d doc) { d["authorizations"] = make([]string, 10_000) }), says: "10000 authorizations for 1 names"},
		{name: "an order at a URL of 48 KB", fault: acmetest.Change(order, func(h http.Header, b []byte) []byte {
			h.Set("Location", "https://ca.example/"+strings.Repeat("a", 48<<10))
			return b
		}), says: "for a URL"},

		// Time.
		{name: "badNonce for ever", fault: acmetest.Problem(order, 400, "badNonce", "no", ""), goesOn: order, asked: 4, says: "interrupted"},
		{name: "a nonce of 48 KB", fault: acmetest.Change(everything, func(h http.Header, b []byte) []byte {
			h.Set("Replay-Nonce", strings.Repeat("n", 48<<10))
			return b
		})},
		{name: "a byte at a time", fault: acmetest.Trickle(finalize), says: "did not answer within"},
		{name: "a directory, a byte at a time", fault: acmetest.Trickle(directory), says: "did not answer within"},
		{name: "an answer that stalls", fault: acmetest.Stall(certificate), says: "did not answer within"},
		{name: "an answer that is announced for ever", fault: acmetest.EarlyHints(order), says: "header list too large"},
		{name: "an answer that is announced for ever, in HTTP/1.1", http1: true, fault: acmetest.EarlyHints(order), says: "server response headers exceeded 65536 bytes"},
		{name: "an order that stays in process", fault: acmetest.Both(set(polled, "status", "processing"), set(finalize, "status", "processing")), goesOn: polled, asked: 4, says: "interrupted"},
		{name: "a poll that is to wait for a day", fault: acmetest.Both(acmetest.Change(polled, func(h http.Header, b []byte) []byte {
			h.Set("Retry-After", "99999999999999999999")
			return b
		}), acmetest.Both(set(polled, "status", "processing"), set(finalize, "status", "processing"))), goesOn: polled, asked: 1, says: "interrupted"},
		{name: "a challenge that failed and stays pending", paints: true, fault: pending, goesOn: authz, asked: 4, says: `no route\u009b31m to \u202ehost`},

		// URLs and redirects.
		{name: "a signed request redirected elsewhere", fault: acmetest.Redirect(order, 307, "https://evil.example/order"), says: "redirects a signed request"},
		{name: "a request for a nonce redirected elsewhere", fault: acmetest.Redirect(nonce, 307, "https://evil.example/nonce"), says: "redirects a signed request"},
		{name: "authorizations at nowhere", paints: true, fault: acmetest.Both(set(order, "authorizations", nowhere), set(polled, "authorizations", nowhere)), says: "refused"},
		{name: "a challenge at a URL that paints", paints: true, fault: acmetest.Both(set(authz, "status", "pending"), challenges(func(ch doc) { ch["url"] = "file:///\u009b31m\u202eevil" })), says: "for a URL"},
		{name: "problems that paint", paints: true, fault: problem(order, 400, `{"type":"\u009b2J","detail":"\u202edlrow\u2066\u009b31m\u0007\u007f\r\nkeepkey: all is well"}`), says: `\u202edlrow`},
		{name: "an order at a URL that paints", paints: true, fault: acmetest.Both(set(polled, "status", "invalid"), set(polled, "error", doc{"type": "\u202e", "detail": "\u009b31m"})), says: `\u009b31m`},

		// Nonsense that fits.
		{name: "two authorizations with one token", names: 2, fault: challenges(func(ch doc) { ch["token"] = "the-same-token" }), says: "did not accept the http-01 challenge"},
		{name: "status 999", fault: acmetest.Respond(order, 999, nil, nil), says: "999"},
		{name: "a clock in the year 9999", fault: dated("Fri, 31 Dec 9999 23:59:59 GMT"), says: "this machine's clock is 106751 days behind", renews: true},
		{name: "a clock in the year 1", fault: dated("Mon, 01 Jan 0001 00:00:00 GMT"), says: "this machine's clock is 106751 days ahead", renews: true},
	}
	for _, url := range []string{"newNonce", "newOrder"} {
		modes = append(modes, hostile{name: url + " without TLS", fault: set(directory, url, "http://127.0.0.1/x"), says: "HTTPS is required"})
	}
	for _, after := range []string{"-1", "0", "1e9", "99999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "\u00a0\u00ff", strings.Repeat("9", 48<<10)} {
		modes = append(modes, hostile{name: fmt.Sprintf("Retry-After %.30q", after), fault: retry(after), says: "go away"})
	}
	for what, body := range map[string]string{
		"the year 1":       `{"suggestedWindow":{"start":"0001-01-01T00:00:00Z","end":"0001-01-02T00:00:00Z"}}`,
		"the year 9999":    `{"suggestedWindow":{"start":"9999-01-01T00:00:00Z","end":"9999-12-31T23:59:59Z"}}`,
		"end before start": `{"suggestedWindow":{"start":"2026-01-02T00:00:00Z","end":"2026-01-01T00:00:00Z"}}`,
		"no window":        `{}`,
		"numbers":          `{"suggestedWindow":{"start":-1e400,"end":1e400}}`,
		"a megabyte":       `{"explanationURL":"https://` + strings.Repeat("\u202e", 300_000) + `"}`,
		"a page to read":   `{"suggestedWindow":{"start":"9998-01-01T00:00:00Z","end":"9999-12-31T23:59:59Z"},"explanationURL":"https://evil.example/\u009b31m\u202e"}`,
	} {
		modes = append(modes, hostile{name: "a renewal window of " + what, fault: window(body), after: asked})
	}
	return modes
}

// unbroken takes the line breaks out of PEM, which readers of it take all the same.
func unbroken(chain []byte) []byte {
	var all bytes.Buffer
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		fmt.Fprintf(&all, "-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----\n", base64.StdEncoding.EncodeToString(block.Bytes))
	}
	return all.Bytes()
}

// dated sets the CA's clock.
func dated(date string) acmetest.Fault {
	return acmetest.Change(acmetest.Everything, func(h http.Header, body []byte) []byte {
		h.Set("Date", date)
		return body
	})
}

// TestHostileCAMeetsTheWholeProgram lets a CA, or whoever answers in its place, do its worst
// to keepkey as a process. What it costs has bounds, what is live stays (unless there is
// nothing wrong with what the CA says), what is on record can be read, nothing that comes
// out steers a terminal or is a secret, and once the CA is itself again the next run renews.
func TestHostileCAMeetsTheWholeProgram(t *testing.T) {
	t.Parallel()
	for i, mode := range hostileModes() {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			if (testing.Short() || raceDetector) && i%5 != 0 {
				t.Skip("one in five is tried")
			}
			h := newHostileHost(t, mode)
			h.mustRun("renew")
			for k, format := range []string{"text", "json"} {
				if !mode.paints && k != i%2 {
					continue
				}
				before := h.look()
				h.meets(mode, format, before)
				h.knows()
				h.ca.Misbehave(nil)
				h.ca.SetClock(0)
				h.mustRun("renew", "--force")
				if after := h.look(); after.Live <= before.Live || after.LivePin != before.LivePin {
					t.Errorf("once the CA is itself again, version %d is live with the key %s; before, %d with %s", after.Live, after.LivePin, before.Live, before.LivePin)
				}
			}
		})
	}
}

// knows holds keepkey to being able to read what is on record.
func (h *host) knows() {
	h.t.Helper()
	status, out := h.told("status", "--json")
	var all []struct {
		Certificate *struct{ Version int }
		Problems    []struct{ Code string }
	}
	if err := json.Unmarshal(out, &all); err != nil || len(all) != 1 || all[0].Certificate == nil || status > 1 {
		h.t.Fatalf("status %d, %v: what is on record can't be read: %s", status, err, out)
	}
	for _, p := range all[0].Problems {
		if strings.HasPrefix(p.Code, "state") || strings.HasPrefix(p.Code, "live") {
			h.t.Errorf("problem %s", p.Code)
		}
	}
}

// meets runs keepkey once while the CA is hostile.
func (h *host) meets(mode hostile, format string, before invariant.Found) {
	h.t.Helper()
	fault := mode.fault
	interrupt := make(<-chan struct{})
	if mode.goesOn != "" {
		asked, count := acmetest.Count(mode.goesOn, mode.asked)
		interrupt, fault = asked, acmetest.Both(count, fault)
	}
	h.ca.Misbehave(fault)
	h.ca.SetClock(mode.after)
	args := []string{"renew", "--force", "--log-level", "debug", "--log-format", format}
	if mode.after > 0 {
		args = append(args[:1], args[2:]...)
	}
	timeout := 2 * time.Second
	if strings.Contains(mode.name, "iB") || mode.names > 0 {
		timeout = 30 * time.Second
	}
	memory := filepath.Join(h.dir, "memory")
	cmd, out := h.command(args...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s", requestTimeoutEnv, timeout), fmt.Sprintf("%s=%s", clockEnv, mode.after), memoryEnv+"="+memory)
	h.run(cmd, interrupt)
	status := cmd.ProcessState.ExitCode()
	if want := map[bool]int{true: 0, false: 1}[mode.says == ""]; status != want || !strings.Contains(unescaped(out.String()), mode.says) {
		h.t.Errorf("%s: exit status %d, want %d and %q\n%s", format, status, want, mode.says, short(out.String()))
	}
	h.shows(out.Bytes())
	after := h.look()
	for _, v := range after.Check(invariant.Outside{Before: &before, Run: &invariant.Run{Status: status, Output: out.Bytes()}}) {
		h.t.Errorf("%s: %s", format, v)
	}
	if mode.says != "" && !mode.renews && (after.Live != before.Live || after.Versions[before.Live] != before.Versions[before.Live]) {
		h.t.Errorf("%s: what is live changed", format)
	}
	h.cost(cmd.ProcessState, memory)
}

// unescaped is an output with one level of escapes taken away: JSON has one more.
func unescaped(out string) string { return strings.ReplaceAll(out, `\\`, `\`) }

func short(out string) string {
	const shown = 3000
	if len(out) <= 2*shown {
		return out
	}
	return fmt.Sprintf("%s ... %d bytes ... %s", out[:shown], len(out)-2*shown, out[len(out)-shown:])
}

// run runs a command to its end, and interrupts it when it is told to.
func (h *host) run(cmd *exec.Cmd, interrupt <-chan struct{}) {
	h.t.Helper()
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for {
		select {
		case err := <-ended:
			if err != nil && !errors.As(err, new(*exec.ExitError)) {
				h.t.Error(err)
			}
			return
		case <-interrupt:
			cmd.Process.Signal(syscall.SIGTERM)
			interrupt = nil
		case <-limit.C:
			h.t.Error("it did not end")
			cmd.Process.Signal(syscall.SIGKILL)
		}
	}
}

// cost holds a process that has ended to the bounds.
func (h *host) cost(p *os.ProcessState, memory string) {
	h.t.Helper()
	cpu := p.UserTime() + p.SystemTime()
	most := 0
	for line := range strings.Lines(h.read(filepath.Base(memory))) {
		if kb, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			fmt.Sscanf(kb, "%d kB", &most)
		}
	}
	h.t.Logf("at most %d MB, %d ms of CPU", most>>10, cpu.Milliseconds())
	switch {
	case raceDetector: // which needs several times as much of both
	case most == 0 && runtime.GOOS == "linux":
		h.t.Error("nobody knows how much memory it took")
	case most<<10 > maxMemory:
		h.t.Errorf("it took %d MB of memory", most>>10)
	case cpu > maxCPU:
		h.t.Errorf("it took %s of CPU", cpu)
	}
}

// told runs a command that ends by itself, and returns its exit status and output.
func (h *host) told(args ...string) (status int, out []byte) {
	h.t.Helper()
	cmd, b := h.command(args...)
	h.run(cmd, nil)
	h.shows(b.Bytes())
	return cmd.ProcessState.ExitCode(), b.Bytes()
}

func (h *host) mustRun(args ...string) {
	h.t.Helper()
	if status, out := h.told(args...); status != 0 {
		h.t.Fatalf("%s: exit status %d\n%s", args, status, short(string(out)))
	}
}

// shows holds an output to being fit to be shown: no secret, nothing that steers a terminal,
// and an end.
func (h *host) shows(out []byte) {
	h.t.Helper()
	if len(out) > maxSaid {
		h.t.Errorf("%d bytes of output: %s", len(out), short(string(out)))
	}
	if !utf8.Valid(out) {
		h.t.Error("the output is not UTF-8")
	}
	for i, r := range string(out) {
		if r != '\n' && !unicode.IsPrint(r) {
			h.t.Errorf("the output has %U: %q", r, out[max(0, i-100):min(len(out), i+100)])
			break
		}
	}
	for _, secret := range h.secrets() {
		if bytes.Contains(out, []byte(secret)) {
			h.t.Error("the output has a secret")
		}
	}
}

// secrets are what no output may have: lines of private keys, and secrets in files.
func (h *host) secrets() []string {
	h.t.Helper()
	secrets := []string{hmacKey}
	err := filepath.WalkDir(filepath.Join(h.dir, "state"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || filepath.Ext(path) != ".pem" {
			return err
		}
		data, err := os.ReadFile(path)
		for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
			if block.Type == "PRIVATE KEY" {
				text := base64.StdEncoding.EncodeToString(block.Bytes)
				secrets = append(secrets, text[40:70], text[len(text)-40:len(text)-10]) // the beginnings are all the same
			}
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		h.t.Fatal(err)
	}
	return secrets
}

// hmacKey binds accounts.
const hmacKey = "c2VjcmV0LW9mLWFuLWV4dGVybmFsLWFjY291bnQtYmluZGluZw"

// newHostileHost is a host with a certificate, at a CA that binds accounts to others outside
// ACME.
func newHostileHost(t *testing.T, mode hostile) *host {
	t.Helper()
	domains := []string{"api.example.com"}
	for i := 1; i < mode.names; i++ {
		domains = append(domains, fmt.Sprintf("n%d.example.com", i))
	}
	h := newHostOf(t, fastDir(t), acmetest.Options{EAB: map[string]string{"kid": hmacKey}, HTTP1: mode.http1},
		"certificates: [{name: api, domains: ["+strings.Join(domains, ", ")+"], channels: []}]\n")
	config := strings.Replace(h.read("config.yaml"), "accept_terms", "eab: {kid: kid, hmac_file: hmac}, accept_terms", 1)
	for name, data := range map[string]string{"config.yaml": config, "hmac": hmacKey} {
		if err := os.WriteFile(filepath.Join(h.dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// TestAnOrderCanSendRequestsElsewhereAndNothingElse: a CA may be several hosts, so keepkey
// signs requests to those that it names. What one gets there is of no use elsewhere: it is
// signed for that URL and says nothing but who asks. What it answers is held to the same
// bounds.
func TestAnOrderCanSendRequestsElsewhereAndNothingElse(t *testing.T) {
	t.Parallel()
	h := newHostileHost(t, hostile{})
	h.mustRun("renew")
	before := h.look()
	heard := make(chan []byte, 100)
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		b.ReadFrom(r.Body)
		heard <- b.Bytes()
		http.Error(w, strings.Repeat("internal\u009b31m page ", 1000), http.StatusTeapot)
	}))
	t.Cleanup(elsewhere.Close)
	h.meets(hostile{
		fault: acmetest.ChangeJSON(acmetest.NewOrder, func(d map[string]any) { d["authorizations"] = []string{elsewhere.URL + "/admin?delete=all"} }),
		says:  "internal",
	}, "text", before)
	close(heard)
	n := 0
	for body := range heard {
		n++
		var jws struct{ Protected, Payload string }
		var header map[string]any
		if err := json.Unmarshal(body, &jws); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		protected, err := base64.RawURLEncoding.DecodeString(jws.Protected)
		if err := errors.Join(err, json.Unmarshal(protected, &header)); err != nil {
			t.Fatal(err)
		}
		if len(header) != 4 || header["url"] != elsewhere.URL+"/admin?delete=all" || header["alg"] == nil || header["kid"] == nil || header["nonce"] == nil || jws.Payload != "" {
			t.Errorf("it was told %s and %q", protected, jws.Payload)
		}
	}
	if n == 0 {
		t.Error("it was not asked, so that this shows nothing")
	}
}

// TestAStallingCAKeepsNoOtherWaiting: the certificates of a CA that never gets done wait for
// it, each as long as a certificate may take, and those of another are renewed meanwhile.
func TestAStallingCAKeepsNoOtherWaiting(t *testing.T) {
	t.Parallel()
	var stalled strings.Builder
	for i := range 12 {
		fmt.Fprintf(&stalled, "  - {name: slow%d, domains: [slow%[1]d.example.com], channels: []}\n", i)
	}
	h := newHostOf(t, fastDir(t), acmetest.Options{}, "certificates:\n"+stalled.String())
	other, err := acmetest.Start(acmetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	if err := os.WriteFile(filepath.Join(h.dir, "other.pem"), other.CAPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	deployed := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(deployed) }))
	t.Cleanup(server.Close)
	h.append("config.yaml", fmt.Appendf(nil, "  - {name: api, domains: [api.example.com], channels: [], acme: {directory: %q, ca_bundle: other.pem, accept_terms: true}, challenge: {http-01: {listen: %q}}, deploy: [{webhook: {url: %q}}]}\n", other.Directory, other.HTTPAddr, server.URL))
	h.ca.Misbehave(acmetest.ChangeJSON(acmetest.Authorization, func(d map[string]any) { d["status"] = "pending" }))
	cmd, out := h.command("renew")
	h.run(cmd, deployed)
	if status, out := h.told("status", "--name", "api"); !bytes.Contains(out, []byte("certificate version 1")) {
		t.Errorf("status %d: the other CA's certificate did not come\n%s", status, out)
	}
	if text := out.String(); !strings.Contains(text, "interrupted") {
		t.Errorf("nothing was waited for, so that this shows nothing\n%s", short(text))
	}
}
