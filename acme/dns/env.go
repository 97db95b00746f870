package dns

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"keepkey/internal/trusted"
)

// ReadEnvFile reads a file of variables: lines NAME=VALUE, where empty lines and
// those that begin with # are skipped. A leading "export " is allowed, and quotes
// around the value. The values are secrets: no error shows one, and a file that
// others may read or change is refused.
func ReadEnvFile(path string) (map[string]string, error) {
	data, err := trusted.ReadSecret(path)
	if err != nil {
		return nil, err
	}
	env, line, err := parseEnv(string(data))
	if err != nil {
		return nil, fmt.Errorf("%s:%d: %w", path, line, err)
	}
	return env, nil
}

// Secrets returns the values of variables that may be secrets: all but those whose names
// say that they are addresses or settings.
func Secrets(env map[string]string) []string {
	var values []string
	for name, value := range env {
		if !slices.ContainsFunc(harmless, func(end string) bool { return strings.HasSuffix(name, "_"+end) }) {
			values = append(values, value)
		}
	}
	return values
}

var harmless = []string{"ALGORITHM", "INTERVAL", "NAMESERVER", "NAMESERVERS", "REGION", "TIMEOUT", "TTL", "ZONE"}

var validVariable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// parseEnv reads variables, or says in which line it could not.
func parseEnv(data string) (env map[string]string, line int, err error) {
	env = make(map[string]string)
	for text := range strings.Lines(data) {
		line++
		text = strings.TrimSpace(text)
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		name, value, ok := strings.Cut(strings.TrimPrefix(text, "export "), "=")
		if !ok || !validVariable.MatchString(name) {
			return nil, line, errors.New("want NAME=VALUE")
		}
		if _, twice := env[name]; twice {
			return nil, line, fmt.Errorf("%s is listed twice", name)
		}
		for _, quote := range []string{`"`, `'`} {
			if !strings.HasPrefix(value, quote) {
				continue
			}
			if len(value) < 2 || !strings.HasSuffix(value, quote) {
				return nil, line, fmt.Errorf("the quote around the value of %s does not end", name)
			}
			value = value[1 : len(value)-1]
			break
		}
		if strings.Contains(value, "\x00") {
			return nil, line, fmt.Errorf("the value of %s has a NUL byte", name)
		}
		env[name] = value
	}
	return env, 0, nil
}
