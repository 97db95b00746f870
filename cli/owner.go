package cli

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"keepkey/config"
	"keepkey/internal/trusted"
	"keepkey/keystore"
)

// becomeOwner has root go on as the owner of the state directory, so that nothing in it ends
// up with the wrong one, and no hook has more rights than usual. Where there is no state
// directory yet, it will be that of whoever runs keepkey.
func (g *globals) becomeOwner(doc *config.Document) error {
	info, err := os.Stat(doc.State)
	if err != nil || !info.IsDir() {
		return nil // whoever needs it will say
	}
	me := os.Geteuid()
	if int(info.Sys().(*syscall.Stat_t).Uid) == me {
		return nil
	}
	if me != 0 || os.Getuid() != 0 || g.env.Become == nil {
		return keystore.CheckDir(doc.State)
	}
	owner, err := trusted.Owner(doc.State)
	if err != nil {
		return fmt.Errorf("root runs keepkey as the owner of the state directory %s, and can't be sure whose it should be: %w; give it a place where every directory on the way is root's or the owner's, or run keepkey as the owner yourself", doc.State, err)
	}
	if err := g.env.Become(owner, doc.File); err != nil {
		return fmt.Errorf("root runs keepkey as %s, to whom the state directory %s belongs, and that failed: %w; nothing was done", trusted.User(owner), doc.State, err)
	}
	return nil
}

// Become has this process begin anew with the same arguments, as another user: with the
// groups of that user, without what root's environment says of root, and with no right but
// the one to listen on ports under 1024. That user has to be able to read the configuration.
// It returns only if it fails; the process may be that user by then, and must end.
func Become(uid int, config string) error {
	account, err := trusted.AccountOf(uid)
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	runtime.LockOSThread() // to which its capabilities belong
	keepRights()
	for _, change := range []func() error{
		func() error { return syscall.Setgroups(account.Groups) },
		func() error { return syscall.Setgid(account.GID) },
		func() error { return syscall.Setuid(account.UID) },
		dropRights,
	} {
		if err := change(); err != nil {
			return fmt.Errorf("root may not become another user here: %w; start keepkey as that user", err)
		}
	}
	f, err := os.Open(config)
	if err != nil {
		return fmt.Errorf("that user may not read the configuration: %w; run chgrp %d and chmod 640 on it, and see that its directories can be entered", err, account.GID)
	}
	f.Close()
	return fmt.Errorf("%s: %w; see that every user may execute it, as in /usr/local/bin", program, syscall.Exec(program, os.Args, environmentOf(account, os.Environ())))
}

// environmentOf returns the environment of a user in the place of root's. What is about
// keepkey, the network or the place stays: DNS providers may have their settings there. So
// does who the person is, for the journal.
func environmentOf(a trusted.Account, environ []string) []string {
	env := slices.DeleteFunc(slices.Clone(environ), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains(ofRoot, name) || strings.HasPrefix(name, "XDG_") || (strings.HasPrefix(name, "SUDO_") && name != sudoUser)
	})
	if !slices.ContainsFunc(env, func(variable string) bool { return strings.HasPrefix(variable, sudoUser+"=") }) {
		env = append(env, sudoUser+"=root")
	}
	env = append(env, "HOME="+a.Home)
	if a.Name != "" {
		env = append(env, "USER="+a.Name, "LOGNAME="+a.Name)
	}
	return env
}

// ofRoot are variables that say who root is, and where root's own things are.
var ofRoot = []string{"HOME", "USER", "LOGNAME", "SHELL", "MAIL", "TMPDIR", "SSH_AUTH_SOCK", "DBUS_SESSION_BUS_ADDRESS"}
