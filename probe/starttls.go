package probe

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// protocol is a way to ask a server to begin TLS on a connection that began without it.
type protocol struct {
	port string // where it is usually spoken
	// ask returns when the server has agreed. name is the domain that the client wants.
	ask func(c *textproto.Conn, name string) error
}

var protocols = map[string]protocol{
	"imap":     {"143", imap},
	"ldap":     {"389", ldap},
	"pop3":     {"110", pop3},
	"postgres": {"5432", postgres},
	"smtp":     {"25", smtp},
	"xmpp":     {"5222", xmpp},
}

// maxTalk bounds what a server says before TLS, in bytes.
const maxTalk = 64 << 10

// begin asks a server to begin TLS. The next byte on the connection is then the client's.
func (p protocol) begin(conn net.Conn, name string) error {
	said := &io.LimitedReader{R: conn, N: maxTalk}
	c := textproto.NewConn(talk{said, conn})
	err := p.ask(c, name)
	var noLine textproto.ProtocolError
	var noXML *xml.SyntaxError
	switch {
	case errors.As(err, &noLine), errors.As(err, &noXML):
		return fmt.Errorf("its answer makes no sense: %.200q", err)
	case said.N == 0:
		return fmt.Errorf("it said more than %d bytes, and did not begin TLS", maxTalk)
	case err != nil:
		return err
	}
	if c.R.Buffered() > 0 {
		// Somebody on the way may have put it there (CVE-2011-0411).
		return errors.New("after it agreed to begin TLS it went on without")
	}
	return nil
}

// talk is a connection of which not everything is read. It is closed elsewhere.
type talk struct {
	io.Reader
	io.Writer
}

func (talk) Close() error { return nil }

// refused says what a server answered in place of its agreement.
func refused(answer string) error { return fmt.Errorf("it does not begin TLS: it says %.200q", answer) }

// smtp asks by RFC 3207. What the server says that it can do does not matter: it agrees or not.
func smtp(c *textproto.Conn, _ string) error {
	for _, step := range []struct {
		line string
		want int
	}{{"", 220}, {"EHLO localhost", 250}, {"STARTTLS", 220}} {
		if step.line != "" {
			if err := c.PrintfLine("%s", step.line); err != nil {
				return err
			}
		}
		_, _, err := c.ReadResponse(step.want)
		var no *textproto.Error
		if errors.As(err, &no) {
			return refused(fmt.Sprintf("%d %s", no.Code, no.Msg))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// imap asks by RFC 9051 section 6.2.1.
func imap(c *textproto.Conn, _ string) error {
	greeting, err := c.ReadLine()
	if err != nil {
		return err
	}
	if !begins(greeting, "* OK") {
		return refused(greeting) // such as PREAUTH, after which it is too late
	}
	if err := c.PrintfLine("a STARTTLS"); err != nil {
		return err
	}
	for {
		line, err := c.ReadLine()
		switch {
		case err != nil:
			return err
		case begins(line, "a OK"):
			return nil
		case !begins(line, "*"):
			return refused(line)
		}
	}
}

// pop3 asks by RFC 2595 section 4.
func pop3(c *textproto.Conn, _ string) error {
	for _, command := range []string{"", "STLS"} {
		if command != "" {
			if err := c.PrintfLine("%s", command); err != nil {
				return err
			}
		}
		line, err := c.ReadLine()
		if err != nil {
			return err
		}
		if !begins(line, "+OK") {
			return refused(line)
		}
	}
	return nil
}

// begins reports whether a line begins with words, in letters of any case.
func begins(line, words string) bool {
	return len(line) >= len(words) && strings.EqualFold(line[:len(words)], words) && (len(line) == len(words) || line[len(words)] == ' ')
}

// ldapStartTLS is an extended request for StartTLS, as message 1 (RFC 4511 section 4.14.1).
const ldapStartTLS = "\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"

// ldap asks by RFC 4511 section 4.14.
func ldap(c *textproto.Conn, _ string) error {
	if err := send(c, ldapStartTLS); err != nil {
		return err
	}
	message, err := ber.ReadPacket(c.R)
	if err != nil {
		return fmt.Errorf("its answer makes no sense: %.200q", err)
	}
	// LDAPMessage { messageID, extendedResp { resultCode, matchedDN, diagnosticMessage, ... } }
	if len(message.Children) < 2 || message.Children[1].ClassType != ber.ClassApplication || message.Children[1].Tag != 24 || len(message.Children[1].Children) < 3 {
		return errors.New("its answer is not one of LDAP's to StartTLS")
	}
	result := message.Children[1].Children
	code, isCode := result[0].Value.(int64)
	if !isCode || code != 0 {
		return refused(fmt.Sprintf("result %v, %s", result[0].Value, result[2].ByteValue))
	}
	return nil
}

// postgres asks by "SSL Session Encryption" in PostgreSQL's description of its protocol.
func postgres(c *textproto.Conn, _ string) error {
	if err := send(c, "\x00\x00\x00\x08\x04\xd2\x16\x2f"); err != nil { // SSLRequest
		return err
	}
	answer, err := c.R.ReadByte()
	switch {
	case err != nil:
		return err
	case answer != 'S':
		return refused(string(rune(answer)))
	}
	return nil
}

const xmppTLS = "urn:ietf:params:xml:ns:xmpp-tls"

// xmpp asks by RFC 6120 section 5, as a client.
func xmpp(c *textproto.Conn, name string) error {
	var to strings.Builder
	if err := xml.EscapeText(&to, []byte(name)); err != nil {
		return err
	}
	if err := send(c, "<?xml version='1.0'?><stream:stream to='"+to.String()+"' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"); err != nil {
		return err
	}
	offered, asked := false, false
	for d := xml.NewDecoder(c.R); ; {
		token, err := d.Token()
		if err != nil {
			return err
		}
		if end, ends := token.(xml.EndElement); ends && end.Name.Local == "features" {
			if !offered {
				return refused("nothing of it among its features")
			}
			if err := send(c, "<starttls xmlns='"+xmppTLS+"'/>"); err != nil {
				return err
			}
			asked = true
		}
		e, begins := token.(xml.StartElement)
		if !begins || e.Name.Local == "stream" || e.Name.Local == "features" {
			continue
		}
		if e.Name.Local == "error" || e.Name.Local == "failure" {
			return refused(condition(d, e))
		}
		if err := d.Skip(); err != nil {
			return err
		}
		switch e.Name {
		case xml.Name{Space: xmppTLS, Local: "starttls"}:
			offered = true
		case xml.Name{Space: xmppTLS, Local: "proceed"}:
			if asked {
				return nil
			}
		}
	}
}

// condition is what an error is called: its first child (RFC 6120 section 4.9.2).
func condition(d *xml.Decoder, e xml.StartElement) string {
	var all struct {
		Children []struct{ XMLName xml.Name } `xml:",any"`
	}
	if err := d.DecodeElement(&all, &e); err != nil || len(all.Children) == 0 {
		return e.Name.Local
	}
	return e.Name.Local + ": " + all.Children[0].XMLName.Local
}

// send writes bytes as they are.
func send(c *textproto.Conn, s string) error {
	if _, err := c.W.WriteString(s); err != nil {
		return err
	}
	return c.W.Flush()
}
