package main

import (
	"context"
	"fmt"
	"strings"
)

func runCompletion(_ context.Context, a *app, args []string) error {
	rest, err := a.flags("completion", "bash|zsh|fish").parse(args, 1, 1)
	if err != nil {
		return err
	}
	var names []string
	for _, c := range commands() {
		names = append(names, c.name)
	}
	words := strings.Join(names, " ")
	switch rest[0] {
	case "bash":
		fmt.Fprintf(a.out, `_bela() {
  local word=${COMP_WORDS[COMP_CWORD]}
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "%s" -- "$word"))
  else
    COMPREPLY=($(compgen -f -- "$word"))
  fi
}
complete -o filenames -F _bela bela
`, words)
	case "zsh":
		fmt.Fprintf(a.out, `#compdef bela
_bela() {
  if (( CURRENT == 2 )); then
    compadd %s
  else
    _files
  fi
}
compdef _bela bela
`, words)
	case "fish":
		for _, c := range commands() {
			fmt.Fprintf(a.out, "complete -c bela -n __fish_use_subcommand -a %s -d '%s'\n", c.name, strings.ReplaceAll(c.short, "'", "\\'"))
		}
	default:
		return usageError("completion for %q: bash, zsh and fish are known", rest[0])
	}
	return nil
}
