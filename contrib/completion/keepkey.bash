# Completes keepkey's commands and flags in bash. It goes into
# /usr/share/bash-completion/completions/keepkey, or is sourced by ~/.bashrc; in zsh, after
# `autoload -U bashcompinit && bashcompinit`.
_keepkey() {
	local current=${COMP_WORDS[COMP_CWORD]} i words=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		words+=("${COMP_WORDS[i]}")
	done
	# keepkey lists flags only when one was begun.
	[[ $current == -* ]] && words+=(-)
	# shellcheck disable=SC2207 # commands and flags have no spaces in them
	COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" "${words[@]}" --generate-bash-completion 2>/dev/null)" -- "$current"))
}
complete -o default -F _keepkey keepkey
