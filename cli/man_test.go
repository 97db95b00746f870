package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"
)

const manPage = "../docs/keepkey.8"

// TestManPageHasEveryCommandAndOption compares the page with the command line. With
// KEEPKEY_TEST_UPDATE=1 it writes what has changed.
func TestManPageHasEveryCommandAndOption(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(manPage)
	if err != nil {
		t.Fatal(err)
	}
	app := newApp(Env{Getenv: os.Getenv, Now: time.Now})
	common := make(map[string]bool)
	var options strings.Builder
	for _, f := range app.Flags {
		common[f.Names()[0]] = true
		option(&options, f)
	}
	var commands strings.Builder
	for _, cmd := range app.Commands {
		command(&commands, cmd.Name, cmd, common)
	}
	got := between(t, string(data), "begin", commands.String())
	got = between(t, got, "begin common", options.String())
	if got == string(data) {
		return
	}
	if os.Getenv("KEEPKEY_TEST_UPDATE") == "" {
		t.Fatalf("%s is not up to date; its first line says how to write it", manPage)
	}
	if err := os.WriteFile(manPage, []byte(got), 0o644); err != nil {
		t.Fatal(err)
	}
}

// between replaces what stands between two marks.
func between(t *testing.T, page, mark, text string) string {
	t.Helper()
	begin, end := `.\" `+mark+"\n", `.\" `+strings.Replace(mark, "begin", "end", 1)+"\n"
	before, rest, ok := strings.Cut(page, begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("the marks of %q are missing", mark)
	}
	return before + begin + text + end + after
}

func command(b *strings.Builder, name string, cmd *cli.Command, common map[string]bool) {
	if len(cmd.Subcommands) > 0 {
		for _, sub := range cmd.Subcommands {
			command(b, name+" "+sub.Name, sub, common)
		}
		return
	}
	fmt.Fprintf(b, ".SS %s\n%s.\n", roff(name), roff(sentence(cmd.Usage)))
	for _, f := range cmd.Flags {
		if !common[f.Names()[0]] {
			option(b, f)
		}
	}
}

func option(b *strings.Builder, f cli.Flag) {
	doc := f.(cli.DocGenerationFlag)
	value, usage := unquoted(doc.GetUsage())
	if _, isBool := f.(*cli.BoolFlag); isBool {
		value = ""
	}
	fmt.Fprintf(b, ".TP\n.BR %s", roff("--"+f.Names()[0]))
	if value != "" {
		fmt.Fprintf(b, ` " " \fI%s\fR`, roff(value))
	}
	fmt.Fprintf(b, "\n%s\n", roff(usage))
}

// unquoted takes the name of a flag's value out of its backquotes, as the library does.
func unquoted(usage string) (value, text string) {
	parts := strings.SplitN(usage, "`", 3)
	if len(parts) != 3 {
		return "", usage
	}
	return parts[1], strings.Join(parts, "")
}

func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// roff escapes what the formatter would take for a command of its own.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	if slices.Contains([]string{".", "'"}, s[:1]) {
		return `\&` + s
	}
	return s
}
