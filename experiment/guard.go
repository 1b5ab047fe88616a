package experiment

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Bounds on what is read from outside.
const (
	// maxFileBytes is the largest experiment or variables file.
	maxFileBytes = 1 << 20
	// maxNesting is how deep brackets may nest, and maxOperators how many
	// operators one expression may have. The HCL parser and evaluator recurse
	// on both, and a Go stack that overflows ends the process.
	maxNesting   = 100
	maxOperators = 500
	// maxElements and maxText bound a value that a name stands for, so that
	// names built from names cannot grow without end.
	maxElements = 20_000
	maxText     = 1 << 20
)

// textual checks that the bytes can be an HCL file at all.
func textual(src []byte) string {
	switch {
	case len(src) > maxFileBytes:
		return fmt.Sprintf("the file has more than %d bytes, the most an experiment file may have", maxFileBytes)
	case bytes.IndexByte(src, 0) >= 0 || !utf8.Valid(src):
		return "this is not a text file in UTF-8"
	}
	return ""
}

// parse turns source into a syntax tree; nil after a mistake. The source was
// checked by textual.
func (m *mistakes) parse(src []byte, name string) *hclsyntax.Body {
	m.sources[name] = src
	if !m.tokensFit(src, name) {
		return nil
	}
	file, diags := hclsyntax.ParseConfig(src, name, hcl.InitialPos)
	m.addHCL(diags)
	if diags.HasErrors() {
		m.secretLines(src, name)
		return nil
	}
	body := file.Body.(*hclsyntax.Body)
	m.sensitiveCalls(body)
	return body
}

var tokenLine = regexp.MustCompile(`(?m)^[ \t]*(?:token|default)[ \t]*=[ \t]*(.+)$`)

// secretLines hides what may be a secret in a file that has no syntax tree.
func (m *mistakes) secretLines(src []byte, name string) {
	for _, at := range tokenLine.FindAllSubmatchIndex(src, -1) {
		m.secrets = append(m.secrets, hcl.Range{Filename: name, Start: hcl.Pos{Byte: at[2]}, End: hcl.Pos{Byte: at[3]}})
	}
}

// sensitiveCalls hides what stands in sensitive("…").
func (m *mistakes) sensitiveCalls(body *hclsyntax.Body) {
	_ = hclsyntax.VisitAll(body, func(n hclsyntax.Node) hcl.Diagnostics {
		if call, ok := n.(*hclsyntax.FunctionCallExpr); ok && call.Name == "sensitive" {
			for _, arg := range call.Args {
				m.secretLiterals(arg)
			}
		}
		return nil
	})
}

// parseExpression is parse for one expression.
func (m *mistakes) parseExpression(src []byte, name string) hclsyntax.Expression {
	m.sources[name] = src
	if problem := textual(src); problem != "" {
		m.error(hcl.Range{Filename: name}, problem)
		return nil
	}
	if !m.tokensFit(src, name) {
		return nil
	}
	expr, diags := hclsyntax.ParseExpression(src, name, hcl.InitialPos)
	m.addHCL(diags)
	if diags.HasErrors() {
		return nil
	}
	return expr
}

// tokensFit refuses source that would make the parser recurse too deep, and
// numbers whose decimal form would fill the memory.
func (m *mistakes) tokensFit(src []byte, name string) bool {
	tokens, _ := hclsyntax.LexConfig(src, name, hcl.InitialPos)
	depth, operators := 0, 0
	for _, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOParen, hclsyntax.TokenOBrack, hclsyntax.TokenOQuote,
			hclsyntax.TokenOHeredoc, hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl:
			depth++
			operators++
		case hclsyntax.TokenCBrace, hclsyntax.TokenCParen, hclsyntax.TokenCBrack, hclsyntax.TokenCQuote,
			hclsyntax.TokenCHeredoc, hclsyntax.TokenTemplateSeqEnd:
			depth = max(depth-1, 0)
		case hclsyntax.TokenEqual, hclsyntax.TokenComma:
			operators = 0
		case hclsyntax.TokenNewline:
			if depth <= 1 {
				operators = 0
			}
		case hclsyntax.TokenIdent, hclsyntax.TokenQuotedLit, hclsyntax.TokenStringLit, hclsyntax.TokenComment,
			hclsyntax.TokenEOF:
		case hclsyntax.TokenNumberLit:
			if i := bytes.IndexAny(t.Bytes, "eE"); i >= 0 && len(bytes.TrimLeft(t.Bytes[i+1:], "+-0")) > 2 {
				m.error(t.Range, fmt.Sprintf("the number %.40s is out of range", t.Bytes))
				return false
			}
		default:
			operators++
		}
		if depth > maxNesting {
			m.error(t.Range, fmt.Sprintf("brackets nest deeper than %d", maxNesting))
			return false
		}
		if operators > maxOperators {
			m.error(t.Range, fmt.Sprintf("one expression has more than %d operators", maxOperators),
				"split it with a locals block")
			return false
		}
	}
	return true
}

// forDepth is how deep for expressions nest in an expression.
type forDepth struct{ now, deepest int }

func (f *forDepth) Enter(n hclsyntax.Node) hcl.Diagnostics {
	if isFor(n) {
		f.now++
		f.deepest = max(f.deepest, f.now)
	}
	return nil
}

func (f *forDepth) Exit(n hclsyntax.Node) hcl.Diagnostics {
	if isFor(n) {
		f.now--
	}
	return nil
}

func isFor(n hclsyntax.Node) bool {
	switch n.(type) {
	case *hclsyntax.ForExpr, *hclsyntax.SplatExpr:
		return true
	}
	return false
}

// boundedFormat refuses widths and precisions that would fill the memory.
func boundedFormat(format string) bool {
	digits := 0
	for _, r := range format {
		switch {
		case r >= '0' && r <= '9':
			if digits++; digits > 3 {
				return false
			}
		case strings.ContainsRune(".*[", r):
			digits = 0
		default:
			digits = 0
		}
	}
	return true
}
