package apply_test

import (
	"net"
	"net/http"
	"testing"
)

// serveFiles is a web server of somebody else's.
func serveFiles(t *testing.T, addr, root string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.FileServer(http.Dir(root))}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
}
