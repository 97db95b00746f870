// Page has Chromium look at the page of a running daemon, and at that page as it is with a
// healthy fleet, with gates that are closed, with problems, and with five hundred certificates:
// on a phone and on a wide screen, dark and light. What it holds the page to is in check.mjs. It has to be run from
// the root of the repository, and takes about half a minute; needs says which programs it
// wants. The exit status is 3 where they, or the modules in package-lock.json, can't be had.
//
//	go run ./.ci/page                  look at everything
//	go run ./.ci/page --shots DIR      and leave pictures of it there
//	go run ./.ci/page --url URL...     look at what a program serves there instead
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"keepkey/page"
)

const dir = ".ci/page"

// needs are the programs that this takes, each with its Debian package.
var needs = map[string]string{"chromium": "chromium", "node": "nodejs", "npm": "npm"}

// minNode is what playwright-core wants.
const minNode = 20

func main() {
	shots := flag.String("shots", "", "leave pictures in `DIR`")
	url := flag.Bool("url", false, "look at the URLs that follow")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var urls []string
	if *url {
		urls = flag.Args()
	}
	err := run(ctx, os.Stdout, urls, *shots)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "page:", err)
	if errors.As(err, &cannotError{}) {
		os.Exit(3)
	}
	os.Exit(1)
}

// cannotError says that there is no browser here.
type cannotError struct{ error }

func (e cannotError) Unwrap() error { return e.error }

// visit is what check.mjs is told to look at.
type visit struct {
	Name  string   `json:"name"`
	URL   string   `json:"url"`
	Texts []string `json:"texts"` // that must be there to read, in an HTML page
}

// order is all that check.mjs is told.
type order struct {
	Chromium string  `json:"chromium"`
	Shots    string  `json:"shots"` // "" for none
	Visits   []visit `json:"visits"`
}

func run(ctx context.Context, out io.Writer, urls []string, shots string) error {
	if err := prepare(ctx); err != nil {
		return cannotError{err}
	}
	o := order{Shots: shots}
	var err error
	if o.Chromium, err = exec.LookPath("chromium"); err != nil {
		return cannotError{err}
	}
	if shots != "" {
		if o.Shots, err = filepath.Abs(shots); err != nil {
			return err
		}
	}
	for i, url := range urls {
		o.Visits = append(o.Visits, visit{Name: fmt.Sprintf("url-%d", i+1), URL: url})
	}
	if len(urls) == 0 {
		origin, stop, err := serve()
		if err != nil {
			return err
		}
		defer stop()
		for _, s := range scenes() {
			o.Visits = append(o.Visits, visit{s.name, origin + "/" + s.name, s.texts})
		}
		o.Visits = append(o.Visits, visit{Name: "timeline", URL: origin + "/timeline.svg"})
		d, err := startDaemon(ctx)
		if err != nil {
			return err
		}
		defer d.stop()
		o.Visits = append(o.Visits, d.visits()...)
	}
	input, err := json.Marshal(o)
	if err != nil {
		return err
	}
	check := exec.CommandContext(ctx, "node", filepath.Join(dir, "check.mjs"))
	check.Stdin, check.Stdout, check.Stderr = bytes.NewReader(input), out, out
	return check.Run()
}

// prepare looks for what is needed, and fetches the modules.
func prepare(ctx context.Context) error {
	for program, pkg := range needs {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w; it is in the package %s", err, pkg)
		}
	}
	version, err := exec.CommandContext(ctx, "node", "--version").Output()
	if err != nil {
		return err
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(string(version), "v"), ".")
	if n, err := strconv.Atoi(major); err != nil || n < minNode {
		return fmt.Errorf("node is %s, and has to be of version %d or newer", bytes.TrimSpace(version), minNode)
	}
	npm := exec.CommandContext(ctx, "npm", "ci", "--prefix", dir, "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund")
	if text, err := npm.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w: %s", err, text)
	}
	return nil
}

// serve answers with each scene as the daemon does, and with a timeline.
func serve() (origin string, stop func(), err error) {
	mux := http.NewServeMux()
	for _, s := range scenes() {
		mux.HandleFunc("GET /"+s.name, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Security-Policy", page.CSP())
			w.Header().Set("X-Content-Type-Options", "nosniff")
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			page.HTML(w, s.view)
		})
	}
	timeline := view(closed()...).Certificates[0].Timeline
	mux.HandleFunc("GET /timeline.svg", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", page.CSP())
		w.Header().Set("Content-Type", "image/svg+xml")
		page.SVG(w, timeline)
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(l)
	return "http://" + l.Addr().String(), func() { server.Close() }, nil
}
