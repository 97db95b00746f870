package probe

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"testing"
	"time"
)

// certificate is a self-signed one.
func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), DNSNames: []string{"mail.example.com"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, OCSPStaple: []byte("a staple")}
}

// serve has a function talk to each client.
func serve(t testing.TB, talk func(net.Conn)) (netip.Addr, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				talk(conn)
			}()
		}
	}()
	at := netip.MustParseAddrPort(l.Addr().String())
	return at.Addr(), fmt.Sprint(at.Port())
}

// line is one step of a conversation: what the client must say, up to a delimiter, and what
// the server answers.
type line struct{ want, answer string }

// conversations are how servers agree to begin TLS, in the words of the protocols'
// descriptions.
var conversations = map[string][]line{
	"smtp": {
		{"", "220-mail.example.com ESMTP\r\n220 ready\r\n"},
		{"EHLO localhost\r\n", "250-mail.example.com\r\n250-SIZE 35882577\r\n250 STARTTLS\r\n"},
		{"STARTTLS\r\n", "220 2.0.0 go ahead\r\n"},
	},
	"imap": {
		{"", "* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] ready\r\n"},
		{"a STARTTLS\r\n", "* CAPABILITY IMAP4rev1\r\na ok Begin TLS negotiation now.\r\n"},
	},
	"pop3": {
		{"", "+OK ready <1896.697170952@mail.example.com>\r\n"},
		{"STLS\r\n", "+OK Begin TLS negotiation now.\r\n"},
	},
	"ldap": {
		// With lengths as Active Directory writes them, longer than they need to be.
		{ldapStartTLS, "\x30\x84\x00\x00\x00\x28\x02\x01\x01\x78\x84\x00\x00\x00\x1f\x0a\x01\x00\x04\x00\x04\x00\x8a\x161.3.6.1.4.1.1466.20037"},
	},
	"postgres": {{"\x00\x00\x00\x08\x04\xd2\x16\x2f", "S"}},
	"xmpp": {
		{"<?xml version='1.0'?><stream:stream to='mail.example.com' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
			"<?xml version='1.0'?><stream:stream id='1' from='mail.example.com' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>" +
				"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>"},
		{"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"},
	},
}

// converse has a conversation, and reports whether the client said what it should.
func converse(conn net.Conn, lines []line) error {
	r := bufio.NewReader(conn)
	for _, l := range lines {
		got := make([]byte, len(l.want))
		if _, err := io.ReadFull(r, got); err != nil {
			return err
		}
		if string(got) != l.want {
			return fmt.Errorf("the client said %q, want %q", got, l.want)
		}
		if _, err := io.WriteString(conn, l.answer); err != nil {
			return err
		}
	}
	if r.Buffered() > 0 {
		return errors.New("the client said more than it should")
	}
	return nil
}

// all lists TLS at once and by each protocol.
func all() []string {
	names := []string{""}
	for name := range protocols {
		names = append(names, name)
	}
	return names
}
