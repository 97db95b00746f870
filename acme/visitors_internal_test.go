package acme

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// What the listeners for challenges tell, and to whom.
const (
	visitedName  = "api.example.com"
	visitedToken = "a-token"
	visitedKey   = "a-token.and-the-thumbprint-of-an-account"
)

// hello is how a CA begins TLS-ALPN-01 (RFC 8737).
func hello(t testing.TB, config *tls.Config) []byte {
	t.Helper()
	here, there := net.Pipe()
	defer there.Close()
	go func() {
		tls.Client(here, config).Handshake() // it gets no answer
		here.Close()
	}()
	record := make([]byte, 5)
	if _, err := io.ReadFull(there, record); err != nil {
		t.Fatal(err)
	}
	rest := make([]byte, int(record[3])<<8|int(record[4]))
	if _, err := io.ReadFull(there, rest); err != nil {
		t.Fatal(err)
	}
	return append(record, rest...)
}

// shake is how a CA shakes hands.
func shake(proto string) *tls.Config {
	return &tls.Config{ServerName: visitedName, NextProtos: []string{proto}, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
}

// FuzzVisitors lets anybody say anything to the listeners for challenges. A visitor of
// HTTP-01 is told nothing but what belongs to a token that it knows, one of TLS-ALPN-01
// learns nothing but that this is TLS, and the next visitor is answered.
func FuzzVisitors(f *testing.F) {
	const get = "GET /" + http01Path + "/" + visitedToken + " HTTP/1.1\r\nHost: " + visitedName + "\r\n"
	good := []string{get + "\r\n", "HEAD" + strings.TrimPrefix(get, "GET") + "\r\n", string(hello(f, shake(acmeTLS)))}
	for _, visit := range good {
		f.Add([]byte(visit))
	}
	for _, visit := range []string{
		"", "\r\n\r\n", "GET / HTTP/1.0\r\n\r\n", get, get + strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 10), get + get + "\r\n",
		"POST" + strings.TrimPrefix(get, "GET") + "Content-Length: 99999999999\r\n\r\nx", get + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
		get + "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"GET /" + http01Path + "/../../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", "GET /" + http01Path + "/%61-token HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n",
		"GET http://" + visitedName + "/" + http01Path + "/ HTTP/1.1\r\nHost: \x00\r\n\r\n", "CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n",
		string(hello(f, shake("http/1.1"))), string(hello(f, shake(acmeTLS))[:60]), "\x16\x03\x01\xff\xff\x01\x00", "\x80\x2e\x01\x03\x01",
	} {
		f.Add([]byte(visit))
	}
	web, alpn := NewHTTP01("127.0.0.1:0").provider.(*http01Listener), NewTLSALPN01("127.0.0.1:0").provider.(*tlsALPN01Listener)
	for _, p := range []interface {
		Present(domain, token, keyAuth string) error
		CleanUp(domain, token, keyAuth string) error
	}{web, alpn} {
		if err := p.Present(visitedName, visitedToken, visitedKey); err != nil {
			f.Fatal(err)
		}
		f.Cleanup(func() { p.CleanUp(visitedName, visitedToken, visitedKey) })
	}
	webAddr, alpnAddr := web.ln.Addr().String(), alpn.ln.Addr().String()
	// So that the seeds can't miss: a good visitor is answered.
	for i, addr := range []string{webAddr, webAddr, alpnAddr} {
		answer := visit(f, addr, []byte(good[i]))
		want := []string{visitedKey, "200 OK", "\x16\x03\x03"}[i] // at last, a handshake
		if !bytes.Contains(answer, []byte(want)) {
			f.Fatalf("a good visitor (%.60q) was told %q", good[i], answer)
		}
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		answer := visit(t, webAddr, said)
		if bytes.Contains(answer, []byte(visitedKey)) && !knows(said) {
			t.Errorf("a visitor that does not know the token was told %q", answer)
		}
		if len(answer) > 4<<10 || (len(answer) > 0 && !bytes.HasPrefix(answer, []byte("HTTP/1."))) {
			t.Errorf("a visitor was told %q", answer)
		}
		answer = visit(t, alpnAddr, said)
		if len(answer) > 0 && answer[0] != 0x15 && answer[0] != 0x16 { // an alert, or a handshake
			t.Errorf("a visitor of TLS-ALPN-01 was told %q", answer)
		}
		if bytes.Contains(answer, []byte(visitedKey)) {
			t.Errorf("TLS-ALPN-01 shows the key authorization: %q", answer)
		}
		// The next visitor. (A handshake takes a signature, so not each time.)
		if answer := visit(t, webAddr, []byte(good[0])); !bytes.Contains(answer, []byte(visitedKey)) {
			t.Errorf("the next visitor of HTTP-01 was told %q", answer)
		}
		if len(said)%16 != 0 {
			return
		}
		conn, err := tls.Dial("tcp", alpnAddr, shake(acmeTLS))
		if err != nil {
			t.Fatalf("the next visitor of TLS-ALPN-01: %v", err)
		}
		conn.Close()
	})
}

// knows says whether a request is for the token, as net/http reads it.
func knows(said []byte) bool {
	r := bufio.NewReader(bytes.NewReader(said))
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			// What the listener takes and ReadRequest does not still has to name the token.
			return bytes.Contains(said, []byte(visitedToken)) || bytes.Contains(said, []byte("%"))
		}
		if strings.HasSuffix(req.URL.Path, "/"+http01Path+"/"+visitedToken) {
			return true
		}
		io.Copy(io.Discard, req.Body)
	}
}

// visit says something to a listener, and returns all that it answers.
func visit(t testing.TB, addr string, said []byte) []byte {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * visitTime))
	if _, err := conn.Write(said); err == nil {
		conn.(*net.TCPConn).CloseWrite()
	} // else it had enough
	answer, err := io.ReadAll(conn)
	if err, ok := err.(net.Error); ok && err.Timeout() {
		t.Fatalf("after %s it still waits", 2*visitTime)
	}
	return answer
}
