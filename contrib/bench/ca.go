package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
)

// ca is the CA that runs beside.
type ca struct {
	Proxy     string `json:"proxy"`
	Directory string `json:"directory"`
	Bundle    string `json:"bundle"`
	HTTP01    string `json:"http01"` // where it looks for answers to challenges

	cmd   *exec.Cmd
	stdin io.Closer
}

func startCA(ctx context.Context, program string) (*ca, error) {
	c := &ca{cmd: exec.CommandContext(ctx, program)}
	c.cmd.Stderr = os.Stderr
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	c.stdin = stdin
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, c)
	}
	if err != nil {
		c.stop()
		return nil, fmt.Errorf("the CA did not start: %w", err)
	}
	return c, nil
}

func (c *ca) stop() {
	c.stdin.Close()
	c.cmd.Wait()
}

// env is the environment in which clients find the CA.
func (c *ca) env() []string {
	return []string{"HTTPS_PROXY=" + c.Proxy, "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
}

// asked returns how often clients have connected to the CA.
func (c *ca) asked(ctx context.Context) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Proxy, nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(body))
}
