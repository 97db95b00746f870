package hooks

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func notice() Event {
	return Event{
		ID: "e7", Kind: Notify, Name: "api", Host: "web1", State: "appeared", Summary: "keepkey on web1: critical: api: a deploy hook failed",
		Text: "api: a deploy hook failed\n.\nsafe: é\n", Problem: Problem{ID: "deploy", Code: "deploy-failing", Severity: "critical"}, Certificates: []string{"api"},
	}
}

// read takes a message apart as a mail reader does.
func read(t *testing.T, data []byte) (h mail.Header, subject, text string) {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(string(data)))
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	if subject, err = new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject")); err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil {
		t.Fatal(err)
	}
	return m.Header, subject, strings.ReplaceAll(string(body), "\r\n", "\n")
}

func TestAMessageIsWhatMailReadersExpect(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	e := notice()
	for _, summary := range []string{
		e.Summary, "über " + strings.Repeat("ä", 100), "api\r\nBcc: everybody@example.com\r\n\r\nbuy", "=?utf-8?q?x?= \x1b[31m",
	} {
		e.Summary = summary
		data, err := Email{To: []string{"ops@example.com", "root"}}.message(e, now)
		if err != nil {
			t.Fatal(err)
		}
		h, subject, text := read(t, data)
		if len(h) != 9 || h.Get("To") != "ops@example.com, root" || h.Get("Bcc") != "" || h.Get("From") != "" || !strings.HasPrefix(h.Get("Message-Id"), "<e7@") || h.Get("Auto-Submitted") != "auto-generated" {
			t.Errorf("headers %v", h)
		}
		if subject != summary && !strings.HasPrefix(summary, "=?") {
			t.Errorf("subject %q, want %q", subject, summary)
		}
		if text != e.Text {
			t.Errorf("it says %q, want %q", text, e.Text)
		}
		for line := range strings.Lines(string(data)) {
			if len(line) > 100 || strings.ContainsRune(line, '\r') {
				t.Errorf("a line is %q", line)
			}
		}
	}
}

func TestWhatIsNoAddressIsRefused(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"ops@example.com", "ops+keys@sub.example.com", "root", "keepkey@localhost", "o'brien@example.com"} {
		if err := CheckAddress(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{
		"", "@", "ops@", "Ops <ops@example.com>", "<ops@example.com>", "a@example.com, b@example.com", "ops@example.com\nBcc: x@example.com", "ops@example.com\r", "root\n",
		"-oQ/tmp", "a b@example.com", `"a b"@example.com`, "ops@exämple.com", "root root", strings.Repeat("x", 70),
	} {
		if CheckAddress(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
		if err := (Email{To: []string{bad}}).Run(context.Background(), notice()); err == nil {
			t.Errorf("a message went to %q", bad)
		}
		if _, err := (Email{To: []string{"root"}, From: bad}).message(notice(), time.Now()); err == nil && bad != "" {
			t.Errorf("a message came from %q", bad)
		}
	}
}

// It is there where PATH has no directory for it, too; here it is where PATH says.
func TestAMessageIsHandedToSendmail(t *testing.T) {
	// Not parallel: there is one PATH.
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("HOME", dir)
	script := "#!/bin/sh\necho \"$@\" >\"$HOME/args\"\ncat >\"$HOME/message\"\n"
	if err := os.WriteFile(filepath.Join(dir, "sendmail"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	m := Email{To: []string{"ops@example.com"}, From: "keepkey@example.com"}
	if err := m.Run(t.Context(), notice()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "message"))
	if err != nil {
		t.Fatal(err)
	}
	if h, _, text := read(t, data); h.Get("From") != "keepkey@example.com" || text != notice().Text {
		t.Errorf("%v, %q", h, text)
	}
	if args, err := os.ReadFile(filepath.Join(dir, "args")); err != nil || string(args) != "-i -t\n" {
		t.Errorf("run with %q (%v)", args, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sendmail"), []byte("#!/bin/sh\necho no such user\nexit 67\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := m.Run(t.Context(), notice()); err == nil || err.Error() != `hook e-mail to ops@example.com: it ended with exit status 67; its output ends with "no such user"` {
		t.Error(err)
	}
}

// mailServer takes one message as a mail server does, and tells what it heard. replies are
// the answers to the commands in order, "" for the usual ones.
func mailServer(t *testing.T, refuse, refusal string) (addr string, heard <-chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	out := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		var b strings.Builder
		defer func() { out <- b.String() }()
		fmt.Fprint(conn, "220 mail.example ESMTP\r\n")
		lines := bufio.NewScanner(conn)
		for data := false; lines.Scan(); {
			line := lines.Text()
			b.WriteString(line + "\n")
			switch {
			case data && line != ".":
				continue
			case refuse != "" && strings.HasPrefix(line, refuse):
				fmt.Fprint(conn, refusal)
				continue
			case line == "DATA":
				data = true
				fmt.Fprint(conn, "354 go on\r\n")
				continue
			}
			data = false
			fmt.Fprint(conn, "250 ok\r\n")
		}
	}()
	return l.Addr().String(), out
}

func TestAMessageIsHandedToAMailServer(t *testing.T) {
	t.Parallel()
	addr, heard := mailServer(t, "", "")
	m := Email{To: []string{"ops@example.com", "root"}, From: "keepkey@example.com", SMTP: addr}
	if err := m.Run(t.Context(), notice()); err != nil {
		t.Fatal(err)
	}
	got := <-heard
	const envelope = "EHLO localhost\nMAIL FROM:<keepkey@example.com>\nRCPT TO:<ops@example.com>\nRCPT TO:<root>\nDATA\n"
	message, ok := strings.CutPrefix(got, envelope)
	message, _, ended := strings.Cut(message, "\n.\n")
	if !ok || !ended {
		t.Fatalf("it heard %q", got)
	}
	if h, subject, _ := read(t, []byte(message+"\n")); h.Get("From") != "keepkey@example.com" || subject != notice().Summary {
		t.Errorf("%v", h)
	}
}

func TestWhatAMailServerSaysIsTold(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	refused := Email{To: []string{"ops@example.com"}, SMTP: closed.Addr().String()}
	if err := refused.Run(t.Context(), notice()); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Error(err)
	}
	for _, tt := range []struct{ at, answer, want string }{
		{"RCPT", "550 no such user\r\n", `550 "no such user"`},
		{"MAIL", strings.Repeat("250-x\r\n", 1<<20), "EOF"},
		{".", "552 too much\r\n", `552 "too much"`},
		{"DATA", "", "no answer within 1s"},
	} {
		addr, _ := mailServer(t, tt.at, tt.answer)
		m := Email{To: []string{"ops@example.com"}, SMTP: addr, Timeout: time.Minute}
		if tt.answer == "" {
			m.Timeout = time.Second
		}
		if err := m.Run(t.Context(), notice()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.at, err, tt.want)
		}
	}
}
