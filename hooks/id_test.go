package hooks

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

// No two of these hooks do the same.
func TestHooksThatDoDifferentThingsHaveDifferentIDs(t *testing.T) {
	t.Parallel()
	ids := make(map[string]Hook)
	for _, h := range []Hook{
		File{Path: "/a"}, File{Path: "/b"}, File{},
		Command{Args: []string{"/a"}}, Command{Args: []string{"/a", "b"}}, Command{Args: []string{"/a b"}}, Command{Args: []string{"/a\x00b"}},
		Command{Args: []string{"/a", ""}}, Command{Args: []string{"/a", "", ""}}, Command{Args: []string{"/", "ab"}}, Command{Args: []string{"/", "a", "b"}}, Command{},
		Command{Args: []string{"1:a"}}, Command{Args: []string{"file", "/a"}}, Command{Args: []string{"webhook", "https://a.example"}},
		Webhook{URL: "/a"}, Webhook{URL: "https://a.example"}, Webhook{URL: "https://a.example/"}, Webhook{URL: "https://a.example/?q=1"}, Webhook{},
		touch{path: "/a"}, touch{}, Serve{},
		Email{To: []string{"/a"}}, Email{To: []string{"a", "b"}}, Email{To: []string{"a,b"}}, Email{},
	} {
		id := h.ID()
		if !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(id) {
			t.Errorf("%#v: ID %q, want 16 hexadecimal digits", h, id)
		}
		if other, taken := ids[id]; taken {
			t.Errorf("%#v and %#v share the ID %s", other, h, id)
		}
		ids[id] = h
	}
}

// Successes are on record by ID. If IDs were made differently everything would be
// published and deployed again. They are what sha256sum prints for
// "4:file14:/srv/pins.json" and so on.
func TestIDsStayWhatTheyAre(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		hook Hook
		want string
	}{
		{File{Path: "/srv/pins.json"}, "e9131974030cd4ab"},
		{Command{Args: []string{"systemctl", "reload", "nginx"}}, "619c203c6d8939d2"},
		{Command{Args: []string{"systemctl", "reload", "nginx"}, Timeout: time.Hour}, "619c203c6d8939d2"},
		{Webhook{URL: "https://pins.example.com/api"}, "82b42b01ad4050e1"},
		{Webhook{URL: "https://pins.example.com/api", SecretFile: "/etc/keepkey/key", Timeout: time.Second}, "82b42b01ad4050e1"},
		{Serve{}, "cf1e93104e6d55df"},
		{Email{To: []string{"ops@example.com"}}, "cc303ac04e424aa4"},
		{Email{To: []string{"ops@example.com"}, From: "a@example.com", SMTP: "localhost:25"}, "cc303ac04e424aa4"},
	} {
		if got := tt.hook.ID(); got != tt.want {
			t.Errorf("%#v: ID %s, want %s", tt.hook, got, tt.want)
		}
	}
}

// touch is all that a new kind of hook takes, apart from its line in config/hook.go.
type touch struct{ path string }

func (h touch) Run(context.Context, Event) error { return os.WriteFile(h.path, nil, 0o600) }
func (h touch) ID() string                       { return identity("touch", h.path) }
func (h touch) String() string                   { return h.path }

func TestANewKindOfHookIsAFewLines(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "touched")
	var h Hook = touch{path: path}
	if err := h.Run(context.Background(), publication(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}
