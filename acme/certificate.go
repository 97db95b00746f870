package acme

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"regexp"
)

const maxAlternates = 10 // alternate chains that are looked at

// Certificate downloads an order's certificate chain. Where the CA offers
// several, and preferredChain is not empty, it is the first whose last
// certificate was issued by that common name; if none was, the CA's default
// (RFC 8555 section 7.4.2). What is returned are the CA's bytes, unjudged.
func (c *Client) Certificate(ctx context.Context, o Order, preferredChain string) ([]byte, error) {
	get := func(u string) ([]byte, error) {
		chain, err := call(ctx, c, func() ([]byte, error) {
			cert, _, err := c.core().Certificates.Get(u, true)
			return cert, err
		})
		if err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		return chain, nil
	}
	last, stop := c.guard.watch(o.Certificate)
	defer stop()
	chain, err := get(o.Certificate)
	if err != nil || preferredChain == "" || topIssuer(chain) == preferredChain {
		return chain, err
	}
	for i, alternate := range alternates(last()) {
		if i == maxAlternates {
			break
		}
		if err := checkURL(alternate); err != nil {
			continue
		}
		other, err := get(alternate)
		if err != nil {
			return nil, err
		}
		if topIssuer(other) == preferredChain {
			return other, nil
		}
	}
	c.cfg.Logger.Warn("the CA offers no chain of the preferred issuer, taking its default",
		"preferred_chain", preferredChain, "default", topIssuer(chain))
	return chain, nil
}

// topIssuer returns the common name of whoever issued a chain's last certificate.
func topIssuer(chain []byte) string {
	issuer := ""
	for {
		block, rest := pem.Decode(chain)
		if block == nil {
			return issuer
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			issuer = cert.Issuer.CommonName
		}
		chain = rest
	}
}

var linkAlternate = regexp.MustCompile(`<([^>]+)>\s*;\s*rel="?alternate"?`)

func alternates(h http.Header) []string {
	var urls []string
	for _, link := range h.Values("Link") {
		for _, m := range linkAlternate.FindAllStringSubmatch(link, maxAlternates+1) {
			urls = append(urls, m[1])
		}
	}
	return urls
}
