package acmetest

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"testing"
)

// get asks a CA with a fault for its directory.
func get(t *testing.T, fault Fault) (header http.Header, body []byte, readError error) {
	t.Helper()
	s, err := Start(Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	s.Misbehave(fault)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.CAPEM)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
	t.Cleanup(client.CloseIdleConnections)
	resp, err := client.Get(s.Directory)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, readError = io.ReadAll(resp.Body)
	return resp.Header, body, readError
}

func TestAnswersInTheCAsPlaceCarryItsNonce(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]Fault{
		"respond": Respond(Directory, http.StatusOK, nil, []byte("OK")),
		"problem": Problem(Directory, http.StatusForbidden, "malformed", "no", ""),
		"flood":   Flood(Directory, http.StatusOK, 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if header, _, _ := get(t, fault); header.Get("Replay-Nonce") == "" {
				t.Error("there is no nonce: the client would fail for another reason than the fault")
			}
		})
	}
}

func TestCutSendsTheBeginningAndBreaksOff(t *testing.T) {
	t.Parallel()
	_, body, err := get(t, Cut(Directory, 20))
	if len(body) != 20 || err == nil {
		t.Errorf("%d bytes came, and then %v; want 20 and an error", len(body), err)
	}
}
