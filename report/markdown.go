package report

import (
	"bytes"
	"io"
	"strings"

	"bela/store"
)

// Markdown writes the report as GitHub-flavoured Markdown.
func Markdown(w io.Writer, run *store.Reader, o Options) error {
	var b bytes.Buffer
	d := newDocument(run, o)
	b.WriteString("# " + escapeMarkdown(clean(d.Title)) + "\n\n")
	if d.Subtitle != "" {
		b.WriteString(escapeMarkdown(d.Subtitle) + "\n\n")
	}
	for _, f := range d.Facts {
		b.WriteString("- " + escapeMarkdown(f) + "\n")
	}
	for _, t := range d.tables() {
		markdownTable(&b, t)
	}
	for _, s := range d.Sections {
		b.WriteString("\n## " + escapeMarkdown(s.Title) + "\n\n")
		for _, i := range s.Items {
			b.WriteString("- " + escapeMarkdown(strings.TrimSpace(i.Text+" "+i.Command)) + "\n")
		}
	}
	b.WriteString("\nRun directory: " + escapeMarkdown(clean(d.Dir)) + "\n")
	_, err := w.Write(b.Bytes())
	return err
}

func markdownTable(b *bytes.Buffer, t table) {
	if len(t.Rows) == 0 {
		return
	}
	b.WriteString("\n## " + escapeMarkdown(t.Title) + "\n\n")
	if t.Note != "" {
		b.WriteString(escapeMarkdown(t.Note) + "\n\n")
	}
	head, rule := "|", "|"
	for _, c := range t.Columns {
		head += " " + escapeMarkdown(c.Head) + " |"
		if c.Left {
			rule += " --- |"
		} else {
			rule += " ---: |"
		}
	}
	b.WriteString(head + "\n" + rule + "\n")
	for _, row := range t.Rows {
		b.WriteString("|")
		for _, f := range row {
			b.WriteString(" " + escapeMarkdown(f.Text) + " |")
		}
		b.WriteString("\n")
	}
}

// escapeMarkdown keeps foreign text from being read as markup.
func escapeMarkdown(text string) string {
	return strings.NewReplacer(
		`\`, `\\`, "|", `\|`, "<", "&lt;", ">", "&gt;", "&", "&amp;", "*", `\*`, "_", `\_`, "`", "\\`", "[", `\[`, "]", `\]`, "#", `\#`,
	).Replace(text)
}
