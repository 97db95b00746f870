package hooks

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/smtp"
	"os"
	"os/exec"
	"os/user"
	"regexp"
	"slices"
	"strings"
	"time"

	"keepkey/internal/fault"
)

// Email is a message to people, which this machine's mail system delivers. It is a [Hook]
// for [Notify].
type Email struct {
	To   []string // see [CheckAddress]
	From string   // "" for keepkey's user at this machine
	// SMTP is the address (host:port) of a mail server on this machine. With "" the program
	// sendmail is run.
	SMTP    string
	Timeout time.Duration // 0 means a minute
}

func (m Email) ID() string { return identity("email", m.To...) }

func (m Email) String() string {
	text := "e-mail to " + strings.Join(m.To, ", ")
	if m.SMTP != "" {
		text += " by the mail server at " + m.SMTP
	}
	return text
}

// localUser is the name of a user, for whom the mail system knows where mail goes.
var localUser = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)

// CheckAddress says what is wrong with a recipient or a sender, if anything: it has to be an
// address in ASCII (RFC 5322 section 3.4.1), or the name of a user of this machine.
func CheckAddress(s string) error {
	if localUser.MatchString(s) {
		return nil
	}
	a, err := mail.ParseAddress(s)
	if err != nil || a.Address != s || a.Name != "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"\(),:;<>[]`, r) }) {
		return fmt.Errorf("%.200q is not an e-mail address", s)
	}
	return nil
}

// Run hands the message over. That it was delivered then is for the mail system to see to.
func (m Email) Run(ctx context.Context, e Event) error {
	fail := func(reason, output string) error { return failed(m, reason, output) }
	message, err := m.message(e, time.Now())
	if err != nil {
		return fail(err.Error(), "")
	}
	if m.SMTP != "" {
		limit := cmp.Or(m.Timeout, defaultTimeout)
		limited, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		if err := m.send(limited, message); err != nil {
			return fail(failure(ctx, limited, limit, err), "")
		}
		return nil
	}
	program, err := sendmail()
	if err != nil {
		return fail(err.Error(), "")
	}
	// -i: a line with a single dot does not end it; -t: the recipients are in it.
	c := Command{Args: []string{program, "-i", "-t"}, Timeout: m.Timeout}
	var output tailBuffer
	return c.exec(ctx, environment(e), message, &output, &output, nil, fail)
}

// message writes the message, with line ends as programs here have them.
func (m Email) message(e Event, now time.Time) ([]byte, error) {
	from := m.From // sendmail knows better who that is
	if m.SMTP != "" {
		from = m.sender()
	}
	for _, a := range append(slices.Clip(m.To), m.sender()) {
		if err := CheckAddress(a); err != nil {
			return nil, err
		}
	}
	// Long words of an encoded subject go on lines of their own (RFC 2047 section 2).
	subject := strings.ReplaceAll(mime.QEncoding.Encode("utf-8", e.Summary), "?= =?", "?=\n =?")
	var b bytes.Buffer
	for _, h := range [][2]string{
		{"From", from}, {"To", strings.Join(m.To, ",\n ")}, {"Subject", subject}, {"Date", now.Format(time.RFC1123Z)},
		{"Message-ID", "<" + e.ID + "@keepkey." + host() + ">"}, {"Auto-Submitted", "auto-generated"}, // RFC 3834 section 5
		{"Keepkey-Event-Id", e.ID},
		{"MIME-Version", "1.0"}, {"Content-Type", "text/plain; charset=utf-8"}, {"Content-Transfer-Encoding", "quoted-printable"},
	} {
		if h[1] != "" {
			fmt.Fprintf(&b, "%s: %s\n", h[0], h[1])
		}
	}
	b.WriteString("\n")
	q := quotedprintable.NewWriter(&b)
	if _, err := io.WriteString(q, e.Text); err != nil {
		return nil, err
	}
	if err := q.Close(); err != nil {
		return nil, err
	}
	return bytes.ReplaceAll(b.Bytes(), []byte("\r\n"), []byte("\n")), nil
}

// host is this machine's name, for addresses.
func host() string {
	name, err := os.Hostname()
	if err != nil || !regexp.MustCompile(`^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$`).MatchString(name) {
		return "localhost"
	}
	return name
}

// sender is who the message is from.
func (m Email) sender() string {
	name := "keepkey"
	if u, err := user.Current(); err == nil && localUser.MatchString(u.Username) {
		name = u.Username
	}
	return cmp.Or(m.From, name+"@"+host())
}

// send hands the message to a mail server (RFC 5321). On this machine no connection needs to
// be encrypted.
func (m Email) send(ctx context.Context, message []byte) error {
	return fault.Do("send mail", m.String(), func() error {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", m.SMTP)
		if err != nil {
			return err
		}
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		c, err := smtp.NewClient(talkative{conn, io.LimitReader(conn, maxAnswers)}, "localhost")
		if err != nil {
			return errors.Join(err, conn.Close())
		}
		defer c.Close()
		if err := c.Mail(m.sender()); err != nil {
			return err
		}
		for _, to := range m.To {
			if err := c.Rcpt(to); err != nil {
				return err
			}
		}
		w, err := c.Data()
		if err != nil {
			return err
		}
		if _, err := w.Write(message); err != nil {
			return err
		}
		return w.Close() // the server has taken it; how it takes leave does not matter
	})
}

// maxAnswers bounds what a mail server may answer, in bytes.
const maxAnswers = 64 << 10

// talkative is a connection to somebody who may not say too much.
type talkative struct {
	net.Conn
	r io.Reader
}

func (t talkative) Read(p []byte) (int, error) { return t.r.Read(p) }

// sendmail finds the program, also where PATH has no directory of system programs.
func sendmail() (string, error) {
	for _, name := range []string{"sendmail", "/usr/sbin/sendmail", "/usr/lib/sendmail"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("there is no program sendmail: install a mail system, or name a mail server on this machine with smtp: localhost:25")
}
