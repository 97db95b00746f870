package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"time"

	"keepkey/internal/acmetest"
)

// The addresses in the network between the machine and the CA, which are for documentation
// (RFC 5737), and the names that lead to the CA.
const (
	caAddr      = "192.0.2.1"
	machineAddr = "192.0.2.2"
)

var caNames = []string{"acme-v02.api.letsencrypt.org", "acme-staging-v02.api.letsencrypt.org"}

// serveCA is Let's Encrypt: it answers under its names, and everybody who trusts the
// certificates in the file trusts it and what it issues. It runs until ctx ends.
func serveCA(ctx context.Context, trust string) error {
	server, err := acmetest.Start(acmetest.Options{Host: machineAddr})
	if err != nil {
		return err
	}
	defer server.Close()
	root, err := server.Root(0)
	if err != nil {
		return err
	}
	own, err := certificate()
	if err != nil {
		return err
	}
	target, err := url.Parse(server.Directory)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(server.CAPEM)
	proxy := &httputil.ReverseProxy{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host
			r.Out.URL.Path = strings.Replace(r.In.URL.Path, "/directory", target.Path, 1)
			r.Out.Host = r.In.Host // its URLs are made from that
		},
		ErrorLog: log.New(os.Stderr, "ca: ", 0),
	}
	l, err := net.Listen("tcp", net.JoinHostPort(caAddr, "443"))
	if err != nil {
		return err
	}
	front := &http.Server{Handler: proxy, TLSConfig: &tls.Config{Certificates: []tls.Certificate{own}}}
	ended := make(chan error, 1)
	go func() { ended <- front.ServeTLS(l, "", "") }()
	var bundle []byte
	for _, der := range [][]byte{own.Certificate[0], root.Raw} {
		bundle = append(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	// Under its name only when it is whole: somebody waits for it.
	if err := os.WriteFile(trust+".part", bundle, 0o644); err != nil {
		return err
	}
	if err := os.Rename(trust+".part", trust); err != nil {
		return err
	}
	select {
	case err = <-ended:
		return err
	case <-ctx.Done():
		return front.Close()
	}
}

// certificate makes one for the CA's own names, signed by itself.
func certificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the CA's own"}, DNSNames: caNames,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
