package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"time"

	"keepkey/cli"
)

func main() {
	f, _ := os.Create("/tmp/cpu.prof")
	runtime.SetCPUProfileRate(1000)
	pprof.StartCPUProfile(f)
	start := time.Now()
	for range 20 {
		cli.Run(context.Background(), cli.Env{Args: []string{"keepkey", "--config", os.Args[1], "renew"}, Stdout: io.Discard, Stderr: os.Stderr, Getenv: os.Getenv, Now: time.Now})
	}
	fmt.Println(time.Since(start) / 20)
	pprof.StopCPUProfile()
	f.Close()
	m, _ := os.Create("/tmp/mem.prof")
	pprof.Lookup("allocs").WriteTo(m, 0)
	m.Close()
}
