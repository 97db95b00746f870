package trusted

import (
	"errors"
	"fmt"
	"io/fs"
	"os/user"
	"strconv"
)

// UserName returns a user's name as commands take it.
func UserName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return "#" + strconv.Itoa(uid)
}

// User returns a user's name and ID, for people.
func User(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return fmt.Sprintf("%s (uid %d)", u.Username, uid)
	}
	return fmt.Sprintf("uid %d", uid)
}

// Account is a user with all groups that it is in.
type Account struct {
	UID, GID int
	Groups   []int
	Name     string // "" without an entry in the user database
	Home     string
}

// AccountOf looks a user up. One that is not in the user database has a group of the same
// number, and no other.
func AccountOf(uid int) (Account, error) {
	u, err := user.LookupId(strconv.Itoa(uid))
	if errors.As(err, new(user.UnknownUserIdError)) || errors.Is(err, fs.ErrNotExist) {
		return Account{UID: uid, GID: uid, Groups: []int{uid}, Home: "/"}, nil
	}
	if err != nil {
		return Account{}, err
	}
	a := Account{UID: uid, Name: u.Username, Home: u.HomeDir}
	if a.GID, err = strconv.Atoi(u.Gid); err != nil {
		return Account{}, err
	}
	ids, err := u.GroupIds()
	if err != nil {
		return Account{}, fmt.Errorf("the groups of %s: %w", a.Name, err)
	}
	for _, id := range ids {
		gid, err := strconv.Atoi(id)
		if err != nil {
			return Account{}, err
		}
		a.Groups = append(a.Groups, gid)
	}
	return a, nil
}
