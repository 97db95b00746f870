// Package probe connects to a server as a client does, and returns what it presents: with TLS
// at once, or after STARTTLS in the protocols of mail, directories, chat and databases. And it
// asks the DNS for what a client would ask: all addresses of a host, and its TLSA records.
//
// It judges nothing. Whoever answers may be hostile: what they say is bounded, and so is the
// time that they have for it.
package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

// Presented is what a server presents to a client.
type Presented struct {
	Chain  []*x509.Certificate // the server's own first, and then what came with it
	Staple []byte              // an OCSP response (RFC 6066 section 8), or nil
}

// How long a server has for it all.
const (
	directTime = 5 * time.Second
	// Mail servers let strangers wait for their greeting.
	talkTime = 15 * time.Second
)

// maxChain is how many certificates are looked at. Public CAs have two to four.
const maxChain = 10

// ErrNoRoute says that this machine has no way to an IP, as where it has no IPv6: nobody can
// tell from here what is there.
var ErrNoRoute = errors.New("this machine has no route to it")

// Look connects to the server at one IP of an address, and returns what it presents to a
// client that wants name. Nothing of it is verified but that the server has the key.
func Look(ctx context.Context, a Address, ip netip.Addr, name string) (Presented, error) {
	limit := directTime
	if a.Protocol != "" {
		limit = talkTime
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it did not answer within %s", limit))
	defer cancel()
	p, err := look(ctx, a, ip, name)
	switch cause := context.Cause(ctx); { // and not what that looks like to the connection
	case err == nil || cause == nil:
		return p, err
	case errors.Is(cause, context.DeadlineExceeded):
		return Presented{}, errLate
	default:
		return Presented{}, cause
	}
}

func look(ctx context.Context, a Address, ip netip.Addr, name string) (Presented, error) {
	var d net.Dialer
	addr := net.JoinHostPort(ip.String(), a.Port)
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		if !routed(addr) {
			return Presented{}, ErrNoRoute
		}
		return Presented{}, plain(err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if p, asks := protocols[a.Protocol]; asks {
		if err := p.begin(conn, name); err != nil {
			return Presented{}, plain(err)
		}
	}
	return handshake(ctx, conn, name)
}

// routed reports whether this machine knows a way to an address. Nothing is sent: a UDP
// socket is given its destination, and the kernel looks for the way.
func routed(addr string) bool {
	conn, err := net.Dial("udp", addr)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

var errLate = errors.New("it did not answer in time")

// plain leaves out what the caller knows: to whom it connected.
func plain(err error) error {
	var op *net.OpError
	var late net.Error
	switch {
	case errors.As(err, &late) && late.Timeout():
		return errLate
	case errors.As(err, &op) && op.Addr != nil:
		return op.Err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it hung up")
	}
	return err
}

// handshake is a TLS handshake in which everything is accepted.
func handshake(ctx context.Context, conn net.Conn, name string) (Presented, error) {
	var seen tls.ConnectionState
	proven := false
	err := tls.Client(conn, &tls.Config{
		ServerName: name, InsecureSkipVerify: true, // it is the caller who verifies
		VerifyConnection: func(s tls.ConnectionState) error {
			seen = s
			return nil
		},
		// It comes after the server has proven that it has the key. A server that wants a
		// certificate of its clients ends the handshake without one.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			proven = true
			return new(tls.Certificate), nil
		},
	}).HandshakeContext(ctx)
	if err != nil && !proven {
		return Presented{}, plain(err)
	}
	chain := seen.PeerCertificates
	if len(chain) == 0 {
		return Presented{}, errors.New("it presents no certificate")
	}
	return Presented{Chain: chain[:min(len(chain), maxChain)], Staple: seen.OCSPResponse}, nil
}
