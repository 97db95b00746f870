package cli_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
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
func webCommand(ts *testscript.TestScript, args []string) {
	status := number(ts, args[0])
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
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
