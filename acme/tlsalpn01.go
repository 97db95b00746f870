package acme

import (
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/go-acme/lego/v4/challenge"
	"github.com/go-acme/lego/v4/challenge/tlsalpn01"
)

// acmeTLS is the application protocol of TLS-ALPN-01 (RFC 8737 section 6.2).
const acmeTLS = "acme-tls/1"

// NewTLSALPN01 answers TLS-ALPN-01 (RFC 8737) from a listener of its own, which
// is open only while a CA may ask, and speaks nothing but this challenge.
func NewTLSALPN01(listen string) *Solver {
	return &Solver{kind: challenge.TLSALPN01, provider: &tlsALPN01Listener{
		port: port{addr: listen, purpose: "TLS-ALPN-01"}, certs: make(map[string][]presentedCert),
	}}
}

type tlsALPN01Listener struct {
	port
	mu sync.Mutex
	// Two orders can have a challenge for one name at a time; the last
	// presented is served, as the CA asks about that one soonest.
	certs map[string][]presentedCert
}

type presentedCert struct {
	token string
	cert  *tls.Certificate
}

func (l *tlsALPN01Listener) Present(domain, token, keyAuth string) error {
	cert, err := tlsalpn01.ChallengeCert(domain, keyAuth)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.certs[domain] = append(l.certs[domain], presentedCert{token, cert})
	l.mu.Unlock()
	return l.open(l.serve)
}

func (l *tlsALPN01Listener) CleanUp(domain, token, _ string) error {
	l.mu.Lock()
	// One of them: a CA may give one token twice.
	i := slices.IndexFunc(l.certs[domain], func(p presentedCert) bool { return p.token == token })
	if i >= 0 {
		l.certs[domain] = slices.Delete(l.certs[domain], i, i+1)
	}
	if len(l.certs[domain]) == 0 {
		delete(l.certs, domain)
	}
	l.mu.Unlock()
	if i < 0 {
		return nil
	}
	return l.close()
}

func (l *tlsALPN01Listener) serve(ln net.Listener) {
	config := &tls.Config{
		NextProtos:     []string{acmeTLS},
		GetCertificate: l.certificate,
		MinVersion:     tls.VersionTLS12,
	}
	for {
		conn, err := ln.Accept()
		if err != nil {
			return // the port was closed
		}
		go func() {
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(visitTime))
			// The handshake is the whole conversation; how it ended, the CA will say.
			_ = tls.Server(conn, config).Handshake()
		}()
	}
}

func (l *tlsALPN01Listener) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	certs := l.certs[hello.ServerName]
	if len(certs) == 0 || !slices.Contains(hello.SupportedProtos, acmeTLS) {
		return nil, fmt.Errorf("no %s challenge for %.100q", acmeTLS, hello.ServerName)
	}
	return certs[len(certs)-1].cert, nil
}
