package acmetest

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"time"
)

// Issuer returns the CA's intermediate certificate and its key. The CA must have
// been started with Options.RSA.
func (s *Server) Issuer() (*x509.Certificate, crypto.Signer, error) {
	cert, err := s.certificate("/intermediates/0")
	if err != nil {
		return nil, nil, err
	}
	data, err := s.manage(http.MethodGet, "/intermediate-keys/0", nil)
	if err != nil {
		return nil, nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, nil, errors.New("the intermediate's key is no PEM block")
	}
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		return nil, nil, err
	}
	return cert, key, nil
}

// Root returns the root of the CA's n-th chain.
func (s *Server) Root(n int) (*x509.Certificate, error) {
	return s.certificate(fmt.Sprintf("/roots/%d", n))
}

func (s *Server) certificate(path string) (*x509.Certificate, error) {
	data, err := s.manage(http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM block", path)
	}
	return x509.ParseCertificate(block.Bytes)
}

// SetRenewalInfo sets what the CA answers about renewing a certificate, literally.
func (s *Server) SetRenewalInfo(cert *x509.Certificate, answer string) error {
	body, err := json.Marshal(map[string]string{
		"Certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})),
		"ARIResponse": answer,
	})
	if err != nil {
		return err
	}
	_, err = s.manage(http.MethodPost, "/set-renewal-info/", strings.NewReader(string(body)))
	return err
}

// Window writes an answer about renewal (RFC 9773 section 4.2).
func Window(start, end time.Time) string {
	return fmt.Sprintf(`{"suggestedWindow":{"start":%q,"end":%q}}`, start.UTC().Format(time.RFC3339), end.UTC().Format(time.RFC3339))
}

// Mint issues a certificate as the CA's intermediate would, for any key, changed
// at will, and returns its chain in PEM. Without changes it is a good one, for the
// names and the key given.
func (s *Server) Mint(pub crypto.PublicKey, domains []string, change func(*x509.Certificate)) ([]byte, error) {
	issuer, key, err := s.Issuer()
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, DNSNames: domains, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(90 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, pub, key)
	if err != nil {
		return nil, err
	}
	var chain bytes.Buffer
	for _, raw := range [][]byte{der, issuer.Raw} {
		if err := pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: raw}); err != nil {
			return nil, err
		}
	}
	return chain.Bytes(), nil
}

// Revoked says whether the CA revoked a certificate, and for which reason
// (RFC 5280 section 5.3.1).
func (s *Server) Revoked(cert *x509.Certificate) (revoked bool, reason uint, err error) {
	data, err := s.manage(http.MethodGet, "/cert-status-by-serial/"+cert.SerialNumber.Text(16), nil)
	if err != nil {
		return false, 0, err
	}
	var status struct {
		Status string
		Reason uint
	}
	if err := json.Unmarshal(data, &status); err != nil {
		return false, 0, err
	}
	return status.Status == "Revoked", status.Reason, nil
}
