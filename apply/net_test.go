package apply_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/miekg/dns"

	"keepkey/internal/acmetest"
)

// serveFiles is a web server of somebody else's.
func serveFiles(t *testing.T, addr, root string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.FileServer(http.Dir(root))}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
}

// playDNSScript is a script for lego's exec provider: its arguments are
// "present" or "cleanup", the record's name and its value.
func playDNSScript(server, log string, args []string) error {
	f, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	fmt.Fprintln(f, args)
	m := new(dns.Msg)
	m.SetUpdate(acmetest.ZoneOf(args[1]))
	rr, err := dns.NewRR(fmt.Sprintf("%s 1 IN TXT %q", args[1], args[2]))
	if err != nil {
		return err
	}
	if args[0] == "present" {
		m.Insert([]dns.RR{rr})
	} else {
		m.Remove([]dns.RR{rr})
	}
	m.SetTsig(acmetest.TSIGKey, acmetest.TSIGAlgorithm, 300, time.Now().Unix())
	c := &dns.Client{TsigSecret: map[string]string{acmetest.TSIGKey: acmetest.TSIGSecret}}
	answer, _, err := c.Exchange(m, server)
	if err == nil && answer.Rcode != dns.RcodeSuccess {
		err = fmt.Errorf("the server says %s", dns.RcodeToString[answer.Rcode])
	}
	return err
}
