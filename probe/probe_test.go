package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestEveryProtocolLeadsToWhatTheServerPresents(t *testing.T) {
	t.Parallel()
	cert := certificate(t)
	for _, protocol := range all() {
		t.Run("TLS "+protocol, func(t *testing.T) {
			t.Parallel()
			asked := make(chan string, 1)
			ip, port := serve(t, func(conn net.Conn) {
				if err := converse(conn, conversations[protocol]); err != nil {
					t.Error(err)
					return
				}
				s := tls.Server(conn, &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
					asked <- hello.ServerName
					return &cert, nil
				}})
				_ = s.Handshake()
			})
			got, err := Look(t.Context(), Address{protocol, "host", port}, ip, "mail.example.com")
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Chain) != 1 || string(got.Chain[0].Raw) != string(cert.Certificate[0]) || string(got.Staple) != "a staple" {
				t.Errorf("got %d certificates and the staple %q", len(got.Chain), got.Staple)
			}
			if name := <-asked; name != "mail.example.com" {
				t.Errorf("the server was asked for %q", name)
			}
		})
	}
}

// What a server with devices as its clients presents is seen by those without a certificate,
// too.
func TestServersThatWantACertificateOfTheirClients(t *testing.T) {
	t.Parallel()
	cert := certificate(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			t.Parallel()
			ip, port := serve(t, func(conn net.Conn) {
				s := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert, MaxVersion: version})
				if s.Handshake() == nil {
					t.Error("the server was content")
				}
			})
			got, err := Look(t.Context(), Address{"", "host", port}, ip, "mail.example.com")
			if err != nil || len(got.Chain) != 1 {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// A certificate whose key the server does not have is worth nothing.
func TestAServerHasToProveThatItHasTheKey(t *testing.T) {
	t.Parallel()
	cert, other := certificate(t), certificate(t)
	cert.PrivateKey = other.PrivateKey
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		ip, port := serve(t, func(conn net.Conn) {
			_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: version, ClientAuth: tls.RequireAnyClientCert}).Handshake()
		})
		if got, err := Look(t.Context(), Address{"", "host", port}, ip, "mail.example.com"); err == nil {
			t.Errorf("%s: %+v", tls.VersionName(version), got)
		}
	}
}

func TestALongChainIsCut(t *testing.T) {
	t.Parallel()
	cert := certificate(t)
	for range 3 * maxChain {
		cert.Certificate = append(cert.Certificate, cert.Certificate[0])
	}
	ip, port := serve(t, func(conn net.Conn) {
		_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}}).Handshake()
	})
	got, err := Look(t.Context(), Address{"", "host", port}, ip, "mail.example.com")
	if err != nil || len(got.Chain) != maxChain {
		t.Errorf("%d certificates, %v", len(got.Chain), err)
	}
}

// hostile are servers that do not agree to begin TLS as they should, and what is said of each.
var hostile = []struct {
	protocol, name string
	lines          []line
	want           string
}{
	{"smtp", "busy", []line{{"", "554 5.3.2 try \x1b[31mlater\r\n"}}, `it does not begin TLS: it says "554 5.3.2 try \x1b[31mlater"`},
	{"smtp", "without TLS", []line{{"", "220 ready\r\n"}, {"EHLO localhost\r\n", "250 hello\r\n"}, {"STARTTLS\r\n", "502 5.5.1 no such command\r\n"}}, `"502 5.5.1 no such command"`},
	{"smtp", "no SMTP", []line{{"", "SSH-2.0-OpenSSH_9.9\r\n"}}, "it hung up"},
	{"smtp", "that goes on in the clear", []line{{"", "220 ready\r\n"}, {"EHLO localhost\r\n", "250 hello\r\n"}, {"STARTTLS\r\n", "220 go ahead\r\n220 and more\r\n"}}, "it went on without"},
	{"smtp", "that says no code", []line{{"", strings.Repeat("x", 5000) + "\r\n"}}, "makes no sense"},
	{"imap", "that asks for no password", []line{{"", "* PREAUTH welcome\r\n"}}, `"* PREAUTH welcome"`},
	{"imap", "without TLS", []line{{"", "* OK ready\r\n"}, {"a STARTTLS\r\n", "a BAD unknown command\r\n"}}, `"a BAD unknown command"`},
	{"imap", "that takes a prefix for an answer", []line{{"", "* OK ready\r\n"}, {"a STARTTLS\r\n", "a OKAY\r\n"}}, `"a OKAY"`},
	{"pop3", "without TLS", []line{{"", "+OK\r\n"}, {"STLS\r\n", "-ERR no\r\n"}}, `"-ERR no"`},
	{"ldap", "without TLS", []line{{ldapStartTLS, "\x30\x15\x02\x01\x01\x78\x10\x0a\x01\x02\x04\x00\x04\x09no\x1b[31mTL"}}, `it says "result 2, no\x1b[31mTL"`},
	{"ldap", "with another answer", []line{{ldapStartTLS, "\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00"}}, "not one of LDAP's to StartTLS"},
	{"ldap", "with two gigabytes to say", []line{{ldapStartTLS, "\x30\x84\x7f\xff\xff\xff\x04\x84\x7f\xff\xff\xf0a"}}, "makes no sense"},
	{"ldap", "nested without end", []line{{ldapStartTLS, strings.Repeat("\x30\x80", 30_000)}}, "makes no sense"},
	{"postgres", "without TLS", []line{{"\x00\x00\x00\x08\x04\xd2\x16\x2f", "N"}}, `it says "N"`},
	{"postgres", "that goes on in the clear", []line{{"\x00\x00\x00\x08\x04\xd2\x16\x2f", "SE"}}, "it went on without"},
	{"xmpp", "for another host", []line{{conversations["xmpp"][0].want, "<stream:stream xmlns:stream='s'><stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"}}, `it says "error: host-unknown"`},
	{"xmpp", "without TLS", []line{{conversations["xmpp"][0].want, "<stream:stream xmlns:stream='s'><stream:features><bind/></stream:features>"}}, "nothing of it among its features"},
	{"xmpp", "that refuses", []line{conversations["xmpp"][0], {conversations["xmpp"][1].want, "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"}}, `it says "failure"`},
	{"xmpp", "that agrees before it was asked", []line{{conversations["xmpp"][0].want, "<stream:stream xmlns:stream='s'><proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"}}, "makes no sense"},
	{"xmpp", "that agrees among its features", []line{{conversations["xmpp"][0].want, "<stream:stream xmlns:stream='s'><stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"}}, "makes no sense"},
	{"xmpp", "nested without end", []line{{conversations["xmpp"][0].want, "<stream:stream xmlns:stream='s'>" + strings.Repeat("<a>", 20_000)}}, "makes no sense"},
	{"", "no TLS", []line{{"", "HTTP/1.1 400 Bad Request\r\n\r\n"}}, "does not look like a TLS handshake"},
}

func TestHostileServersAreRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range hostile {
		t.Run(tt.protocol+" "+tt.name, func(t *testing.T) {
			t.Parallel()
			ip, port := serve(t, func(conn net.Conn) {
				_ = converse(conn, tt.lines)
				_ = conn.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, conn)
			})
			got, err := Look(t.Context(), Address{tt.protocol, "host", port}, ip, "mail.example.com")
			if err == nil || !strings.Contains(err.Error(), tt.want) || len(err.Error()) > 1000 {
				t.Errorf("%+v, %v; want %q", got, err, tt.want)
			}
		})
	}
}

func TestServersThatSayTooMuchOrNothing(t *testing.T) {
	t.Parallel()
	for _, protocol := range all() {
		for name, talk := range map[string]func(net.Conn){
			"hangs up": func(net.Conn) {},
			"says nothing": func(conn net.Conn) {
				_, _ = io.Copy(io.Discard, conn)
			},
			"never ends its first line": func(conn net.Conn) {
				for junk := []byte(strings.Repeat("220-", 1000)); ; {
					if _, err := conn.Write(junk); err != nil {
						return
					}
				}
			},
			"never comes to the point": func(conn net.Conn) {
				for junk := []byte(strings.Repeat("220-a\r\n* OK\r\n<a/>", 1000)); ; {
					if _, err := conn.Write(junk); err != nil {
						return
					}
				}
			},
		} {
			t.Run(protocol+" "+name, func(t *testing.T) {
				t.Parallel()
				ip, port := serve(t, talk)
				limited, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				defer cancel()
				if got, err := Look(limited, Address{protocol, "host", port}, ip, "mail.example.com"); err == nil || len(err.Error()) > 1000 {
					t.Errorf("%+v, %v", got, err)
				}
			})
		}
	}
}

func TestNobodyThereIsToldFromNoWayThere(t *testing.T) {
	t.Parallel()
	ip, port := serve(t, func(net.Conn) {})
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port2, _ := net.SplitHostPort(closed.Addr().String())
	closed.Close()
	if _, err := Look(t.Context(), Address{"", "host", port2}, ip, "a.example.com"); err == nil || errors.Is(err, ErrNoRoute) || err.Error() != "connect: connection refused" {
		t.Errorf("%v", err)
	}
	// A link-local address is of no use without the link.
	if _, err := Look(t.Context(), Address{"", "host", port}, netip.MustParseAddr("fe80::1"), "a.example.com"); !errors.Is(err, ErrNoRoute) {
		t.Errorf("%v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Look(ended, Address{"", "host", port}, ip, "a.example.com"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestAddressesAsPeopleWriteThem(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]Address{
		"api.example.com:443":        {"", "api.example.com", "443"},
		"[2001:db8::1]:8443":         {"", "2001:db8::1", "8443"},
		"smtp://mail.example.com:25": {"smtp", "mail.example.com", "25"},
		"imap://[::1]:143":           {"imap", "::1", "143"},
	} {
		got, err := Parse(s)
		if err != nil || got != want || got.String() != s {
			t.Errorf("%s: %+v (%s), %v", s, got, got, err)
		}
	}
	for _, s := range []string{"api.example.com", "https://api.example.com:443", "smtp://mail.example.com"} {
		if got, err := Parse(s); err == nil {
			t.Errorf("%s: %+v", s, got)
		}
	}
	for s, want := range map[string]string{"a": "443", "smtp://a": "25", "imap://a": "143", "pop3://a": "110", "ldap://a": "389", "xmpp://a": "5222", "postgres://a": "5432"} {
		if _, rest, port, known := Split(s); rest != "a" || port != want || !known {
			t.Errorf("%s: %q, port %q, %v", s, rest, port, known)
		}
	}
}

// FuzzTalk: whatever a server says before TLS, it is bounded, and either an error or an
// agreement after which the client is the next to speak.
func FuzzTalk(f *testing.F) {
	for protocol, lines := range conversations {
		var said string
		for _, l := range lines {
			said += l.answer
		}
		f.Add(protocol, []byte(said))
	}
	for _, h := range hostile {
		var said string
		for _, l := range h.lines {
			said += l.answer
		}
		f.Add(h.protocol, []byte(said))
	}
	f.Fuzz(func(t *testing.T, protocol string, said []byte) {
		p, known := protocols[protocol]
		if !known {
			t.Skip()
		}
		conn := &script{left: said}
		if err := p.begin(conn, "mail.example.com"); err == nil {
			if len(conn.left) > 0 && len(said) < 4096 { // else it was not read yet
				t.Errorf("it agreed, and %q was to come", conn.left)
			}
		} else if len(err.Error()) > 1000 {
			t.Errorf("the error has %d bytes", len(err.Error()))
		}
	})
}

// script is a connection to a server that says what it has to say, whatever it hears.
type script struct {
	net.Conn
	left []byte
}

func (s *script) Read(b []byte) (int, error) {
	n := copy(b, s.left)
	s.left = s.left[n:]
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (*script) Write(b []byte) (int, error) { return len(b), nil }
