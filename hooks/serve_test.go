package hooks

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWhatIsServedLiesInAFileOfKeepkeysOwn(t *testing.T) {
	t.Parallel()
	e := publication(t)
	e.ServeDir = t.TempDir()
	path := filepath.Join(e.ServeDir, "app")
	var gone *Error
	if _, err := (Serve{}).Read(t.Context(), e); !errors.As(err, &gone) || !gone.Gone {
		t.Errorf("before anything was published: %v", err)
	}
	if err := (Serve{}).Run(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	first, err := os.Stat(path)
	if err != nil || first.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: the daemon alone hands it out", first.Mode(), err)
	}
	if err := (Serve{}).Run(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if again, err := os.Stat(path); err != nil || !os.SameFile(first, again) {
		t.Errorf("the same document was written again (%v): clients would fetch it anew", err)
	}
	e.Document = `{"version":8}`
	if err := (Serve{}).Run(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if data, err := (Serve{}).Read(t.Context(), e); err != nil || string(data) != e.Document {
		t.Errorf("it holds %q (%v)", data, err)
	}
	e.ServeDir = filepath.Join(e.ServeDir, "missing")
	if err := (Serve{}).Run(t.Context(), e); err == nil || !strings.HasPrefix(err.Error(), "hook the daemon's /pins: ") {
		t.Errorf("without a directory: %v", err)
	}
}

func TestWhatIsServedNoMoreIsRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"app", "web", ".tmp-left.part"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	served := func(channel string) bool { return channel == "app" }
	for _, dir := range []string{dir, filepath.Join(dir, "missing")} {
		if err := Unserve(dir, served); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 || left[0].Name() != "app" {
		t.Errorf("left are %v (%v)", left, err)
	}
}

func TestTheDaemonIsAskedAsClientsAskIt(t *testing.T) {
	t.Parallel()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "localhost" || r.URL.Path != "/pins/app/api" {
			http.NotFound(w, r)
			return
		}
		w.Write([]byte("the document"))
	})
	socket := filepath.Join(t.TempDir(), "http")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	unix := httptest.NewUnstartedServer(handler)
	unix.Listener.Close()
	unix.Listener = l
	unix.Start()
	defer unix.Close()
	tcp := httptest.NewServer(handler)
	defer tcp.Close()
	for _, d := range []Daemon{{"unix", socket}, {"tcp", tcp.Listener.Addr().String()}} {
		e := publication(t)
		if data, err := d.Read(t.Context(), e); err != nil || string(data) != "the document" {
			t.Errorf("%s: %q, %v", d, data, err)
		}
		e.Name = "other"
		var gone *Error
		if _, err := d.Read(t.Context(), e); !errors.As(err, &gone) || !gone.Gone || !strings.HasPrefix(err.Error(), "reading "+d.String()+": it answered with status 404") {
			t.Errorf("%s, of what is not there: %v", d, err)
		}
	}
}

func TestADaemonThatDoesNotRunIsNamed(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	socket := filepath.Join(t.TempDir(), "http")
	for _, d := range []Daemon{{"unix", socket}, {"tcp", addr}} {
		_, err := d.Read(context.Background(), publication(t))
		var failed *Error
		if want := "reading " + d.String() + ": no daemon runs there; start it: systemctl start keepkey-daemon"; !errors.As(err, &failed) || failed.Gone || !failed.NoDaemon || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}
