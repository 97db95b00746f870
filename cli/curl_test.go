package cli_test

import (
	"crypto/tls"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCurlGoesOnPinningAfterARenewal is the promise as a client sees it: curl
// holds one pin, and is served before and after a renewal by a server that reads
// live/. With the backup's pin alone it is refused, so that the test can fail.
func TestCurlGoesOnPinningAfterARenewal(t *testing.T) {
	t.Parallel()
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not here; continuous integration installs it")
	}
	h := newHost(t, "certificates: [{name: api, domains: [api.example.com]}]\n")
	renew := func() {
		t.Helper()
		cmd, out := h.command("renew", "--force")
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	renew()
	live := filepath.Join(h.lineage("api"), "live")
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(filepath.Join(live, "fullchain.pem"), filepath.Join(live, "privkey.pem"))
			return &cert, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("hello")) })}
	go server.Serve(l)
	defer server.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fetch := func(pin string) (string, error) {
		out, err := exec.Command(curl, "--silent", "--show-error", "--insecure", "--pinnedpubkey", "sha256//"+pin,
			"--connect-to", "api.example.com:443:127.0.0.1:"+port, "https://api.example.com/").CombinedOutput()
		return string(out), err
	}

	cmd, out := h.command("pins")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(out.String()) // the name, then pin, type and role of each key
	active, backup := fields[1], fields[4]
	for _, when := range []string{"before", "after"} {
		if got, err := fetch(active); got != "hello" || err != nil {
			t.Errorf("%s the renewal: %q, %v", when, got, err)
		}
		if got, err := fetch(backup); err == nil {
			t.Errorf("%s the renewal a client that knows another pin only was served: %q", when, got)
		}
		renew()
	}
}
