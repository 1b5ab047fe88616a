package experiment

import (
	"fmt"
	"sort"
	"strings"

	"github.com/agext/levenshtein"
)

// nearest returns the legal name that was probably meant, or "".
func nearest(given string, legal []string) string {
	best, bestDistance := "", 1<<30
	low := strings.ToLower(given)
	for _, name := range legal {
		distance := levenshtein.Distance(low, strings.ToLower(name), nil)
		if distance < bestDistance {
			best, bestDistance = name, distance
		}
	}
	// Two slips of the finger, or a third of a longer name.
	if bestDistance <= max(2, len(given)/3) && bestDistance < max(len(best), 2) {
		return best
	}
	for _, name := range legal {
		if len(given) >= 3 && strings.HasPrefix(name, low) {
			return name
		}
	}
	return ""
}

// didYouMean is a line of help, or "" where nothing is near. show turns the
// name into what the user would write.
func didYouMean(given string, legal []string, show func(string) string) string {
	name := nearest(given, legal)
	if name == "" {
		return ""
	}
	return "did you mean " + show(name) + "?"
}

func quoted(s string) string { return fmt.Sprintf("%q", s) }

func bare(s string) string { return s }

// legalNames is a line of help that lists what could stand in a place.
func legalNames(what string, legal []string) string {
	if len(legal) == 0 {
		return ""
	}
	const most = 40
	more := ""
	if len(legal) > most {
		more = fmt.Sprintf(" and %d more", len(legal)-most)
		legal = legal[:most]
	}
	return what + ": " + strings.Join(legal, ", ") + more
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
