package cli_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"keepkey/internal/acmetest"
)

// endpoints are what scripts call the kinds of requests to a CA.
var endpoints = map[string]acmetest.Endpoint{
	"directory": acmetest.Directory, "nonce": acmetest.NewNonce, "account": acmetest.NewAccount, "order": acmetest.NewOrder,
	"authorization": acmetest.Authorization, "challenge": acmetest.Challenge, "finalize": acmetest.Finalize, "certificate": acmetest.Certificate,
}

// caCommand changes how the CA behaves.
func caCommand(ts *testscript.TestScript, args []string) {
	ca := worldOf(ts).ca
	endpoint := func() acmetest.Endpoint {
		e, known := endpoints[args[1]]
		if !known {
			ts.Fatalf("a CA gets no requests of the kind %q", args[1])
		}
		return e
	}
	switch {
	case args[0] == "up" && len(args) == 1:
		ca.Misbehave(nil)
	case args[0] == "down" && len(args) == 1:
		ca.Misbehave(func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				http.Error(w, "down for \x1b[31mmaintenance", http.StatusServiceUnavailable)
			})
		})
	case args[0] == "lifetime" && len(args) == 2:
		ts.Check(ca.Restart(acmetest.Options{Profiles: map[string]time.Duration{"default": duration(ts, args[1])}}))
	case args[0] == "anew" && len(args) == 1:
		ts.Check(ca.Restart(acmetest.Options{}))
	case args[0] == "eab" && len(args) == 3:
		ts.Check(ca.Restart(acmetest.Options{EAB: map[string]string{args[1]: args[2]}}))
	case args[0] == "refuse" && len(args) >= 5:
		ca.Misbehave(acmetest.Problem(endpoint(), number(ts, args[2]), args[3], args[4], strings.Join(args[5:], "")))
	case args[0] == "answer" && len(args) == 4:
		ca.Misbehave(acmetest.Respond(endpoint(), number(ts, args[2]), nil, []byte(args[3])))
	case args[0] == "hesitate" && len(args) == 2:
		ca.Misbehave(acmetest.Hesitate(3, args[1]))
	default:
		ts.Fatalf("the README of the scripts says what a CA can do: %q is nothing of it", args)
	}
}

// webCommand starts a web server, at $WEB, which is at $WEBADDR, in place of the one before.
// What is posted to it goes to a file.
func webCommand(ts *testscript.TestScript, args []string) {
	status := number(ts, args[0])
	posted := ts.MkAbs("posted")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err == nil && len(body) > 0 {
			os.WriteFile(posted, body, 0o600)
		}
		if len(args) > 1 {
			w.Header().Set("Location", args[1])
		}
		w.WriteHeader(status)
		fmt.Fprintln(w, "says the web server")
	}))
	ts.Defer(server.Close)
	ts.Setenv("WEB", server.URL)
	ts.Setenv("WEBADDR", server.Listener.Addr().String())
}

// askCommand has the daemon that listens on a Unix socket answer a GET request.
func askCommand(ts *testscript.TestScript, args []string) {
	args, file := output(ts, args)
	answer, err := answerOf(ts.MkAbs(args[0]), args[1], nil, args[2:])
	ts.Check(err)
	ts.Check(os.WriteFile(file, answer, 0o600))
}

// postCommand sends it a file.
func postCommand(ts *testscript.TestScript, args []string) {
	args, file := output(ts, args)
	answer, err := answerOf(ts.MkAbs(args[0]), args[1], strings.NewReader(ts.ReadFile(args[2])), []string{"Content-Type: application/json"})
	ts.Check(err)
	ts.Check(os.WriteFile(file, answer, 0o600))
}

// untilCommand asks until the answer matches a pattern.
func untilCommand(ts *testscript.TestScript, args []string) {
	pattern := regexp.MustCompile("(?m)" + args[2])
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) { // somebody else brings it about
		answer, err := answerOf(ts.MkAbs(args[0]), args[1], nil, nil)
		if pattern.Match(answer) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s: %v, %s", args[1], err, answer)
		}
	}
}

// answerOf returns the status, the headers and the body of an answer, in lines.
func answerOf(socket, path string, body io.Reader, headers []string) ([]byte, error) {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	req, err := http.NewRequest(method, "http://localhost"+path, body)
	if err != nil {
		return nil, err
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	resp.Header.Del("Date")
	var b bytes.Buffer
	fmt.Fprintln(&b, resp.Status)
	resp.Header.Write(&b)
	b.WriteString("\n")
	_, err = io.Copy(&b, resp.Body)
	return bytes.ReplaceAll(b.Bytes(), []byte("\r"), nil), err
}

// signalCommand sends a signal that testscript's kill does not know.
func signalCommand(ts *testscript.TestScript, args []string) {
	if args[0] != "HUP" || len(ts.BackgroundCmds()) != 1 {
		ts.Fatalf("want HUP, and one command in the background")
	}
	ts.Check(ts.BackgroundCmds()[0].Process.Signal(syscall.SIGHUP))
}

// serveCommand starts TLS servers of one host, each at an IP of its own, which present the
// certificate and key that are in a directory at that moment. They are at $SERVERS.
func serveCommand(ts *testscript.TestScript, args []string) {
	listeners, addr, err := worldOf(ts).ca.DNS.Pool("pool.example.com", len(args))
	ts.Check(err)
	for i, l := range listeners {
		ts.Defer(func() { l.Close() })
		dir := ts.MkAbs(args[i])
		server := &http.Server{ErrorLog: log.New(io.Discard, "", 0), TLSConfig: &tls.Config{
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
				c, err := tls.LoadX509KeyPair(filepath.Join(dir, "fullchain.pem"), filepath.Join(dir, "privkey.pem"))
				return &c, err
			},
		}}
		go server.ServeTLS(l, "", "")
	}
	_, port, err := net.SplitHostPort(addr)
	ts.Check(err)
	ts.Setenv("SERVERS", addr)
	ts.Setenv("PORT", port)
}

// plainCommand runs a command as a user without privileges: where that is root, it is
// without what root may do to files, owners and ports of others.
func plainCommand(ts *testscript.TestScript, args []string) {
	command := args[1:]
	if os.Geteuid() == 0 {
		command = append([]string{"setpriv", "--inh-caps=-all", "--bounding-set=-all"}, command...)
	}
	ends(ts, args[0], command)
}

// scriptCondition is what scripts can ask of the machine besides testscript's own
// conditions.
func scriptCondition(name string) (bool, error) {
	switch name {
	case "root":
		return os.Geteuid() == 0, nil
	case "lowports": // that not everybody may listen on
		data, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
		if err != nil {
			return false, nil // not Linux
		}
		first, err := strconv.Atoi(strings.TrimSpace(string(data)))
		return first > 80, err
	}
	return false, fmt.Errorf("no such condition: %q", name)
}
