package experiment

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
	"unicode/utf8"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// sensitiveMark marks values that must not be shown; it sticks to whatever is
// built from them.
type sensitiveMark struct{}

// functions are those an expression in a file may call.
func (l *loader) functions() map[string]function.Function {
	all := pureFunctions()
	all["env"], all["file"], all["sensitive"] = l.envFunction(), l.fileFunction(), sensitiveFunction()
	return all
}

// pureFunctions are those that take nothing from outside.
func pureFunctions() map[string]function.Function {
	return map[string]function.Function{
		"abs": stdlib.AbsoluteFunc, "ceil": stdlib.CeilFunc, "floor": stdlib.FloorFunc,
		"min": stdlib.MinFunc, "max": stdlib.MaxFunc, "range": stdlib.RangeFunc,
		"concat": stdlib.ConcatFunc, "contains": stdlib.ContainsFunc, "distinct": stdlib.DistinctFunc,
		"element": stdlib.ElementFunc, "flatten": stdlib.FlattenFunc, "keys": stdlib.KeysFunc,
		"length": stdlib.LengthFunc, "lookup": stdlib.LookupFunc, "merge": stdlib.MergeFunc,
		"reverse": stdlib.ReverseListFunc, "sort": stdlib.SortFunc, "values": stdlib.ValuesFunc,
		"coalesce": stdlib.CoalesceFunc, "join": stdlib.JoinFunc, "lower": stdlib.LowerFunc,
		"split": stdlib.SplitFunc, "substr": stdlib.SubstrFunc, "trimspace": stdlib.TrimSpaceFunc,
		"upper": stdlib.UpperFunc, "jsondecode": stdlib.JSONDecodeFunc, "jsonencode": stdlib.JSONEncodeFunc,
		"format": formatFunction(), "seconds": secondsFunction(), "duration": durationFunction(),
	}
}

// formatFunction is format with a bound on widths.
func formatFunction() function.Function {
	return function.New(&function.Spec{
		Description: "format(TEMPLATE, VALUE…) fills a template as in C's printf.",
		Params:      []function.Parameter{{Name: "format", Type: cty.String}},
		VarParam: &function.Parameter{
			Name: "args", Type: cty.DynamicPseudoType, AllowNull: true,
		},
		Type: function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if !boundedFormat(args[0].AsString()) {
				return cty.NilVal, function.NewArgErrorf(0, "widths and precisions have at most three digits")
			}
			return stdlib.Format(args[0], args[1:]...)
		},
	})
}

// envFunction is env(NAME) and env(NAME, DEFAULT): an environment variable,
// or the default (the empty string where there is none) when it is not set.
func (l *loader) envFunction() function.Function {
	return function.New(&function.Spec{
		Description: "env(NAME, DEFAULT) is an environment variable.",
		Params:      []function.Parameter{{Name: "name", Type: cty.String}},
		VarParam:    &function.Parameter{Name: "default", Type: cty.String},
		Type:        function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if len(args) > 2 {
				return cty.NilVal, errors.New("env takes a name and at most one default")
			}
			value, found := "", false
			if l.in.Env != nil {
				value, found = l.in.Env(args[0].AsString())
			}
			switch {
			case found && !utf8.ValidString(value):
				return cty.NilVal, function.NewArgErrorf(0, "the environment variable %s is not text in UTF-8", args[0].AsString())
			case found:
				return cty.StringVal(value), nil
			case len(args) == 2:
				return args[1], nil
			}
			return cty.StringVal(""), nil
		},
	})
}

// fileFunction is file(PATH): a text file's content; relative paths start at
// the experiment file.
func (l *loader) fileFunction() function.Function {
	return function.New(&function.Spec{
		Description: "file(PATH) is the content of a text file.",
		Params:      []function.Parameter{{Name: "path", Type: cty.String}},
		Type:        function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			path := args[0].AsString()
			if !filepath.IsAbs(path) {
				path = filepath.Join(filepath.Dir(l.path), path)
			}
			src, err := l.in.read(path)
			if err != nil {
				return cty.NilVal, function.NewArgError(0, err)
			}
			if problem := textual(src); problem != "" {
				return cty.NilVal, function.NewArgErrorf(0, "%s: %s", path, problem)
			}
			return cty.StringVal(string(src)), nil
		},
	})
}

// secondsFunction is seconds(DURATION): a duration as a number, to reckon with.
func secondsFunction() function.Function {
	return function.New(&function.Spec{
		Description: "seconds(DURATION) is a duration in seconds, as a number.",
		Params:      []function.Parameter{{Name: "duration", Type: cty.String}},
		Type:        function.StaticReturnType(cty.Number),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			d, bad := parseDuration(args[0].AsString())
			if bad != nil {
				return cty.NilVal, function.NewArgErrorf(0, "%s; %s", bad.problem, bad.legal)
			}
			return cty.NumberFloatVal(d.Seconds()), nil
		},
	})
}

// durationFunction is duration(SECONDS): the way back.
func durationFunction() function.Function {
	return function.New(&function.Spec{
		Description: "duration(SECONDS) is a number of seconds as a duration.",
		Params:      []function.Parameter{{Name: "seconds", Type: cty.Number}},
		Type:        function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			s, _ := args[0].AsBigFloat().Float64()
			if s > maxDuration.Seconds() || s < -maxDuration.Seconds() {
				return cty.NilVal, function.NewArgErrorf(0, "%g seconds is longer than %s", s, show(maxDuration))
			}
			return cty.StringVal(time.Duration(s * float64(time.Second)).String()), nil
		},
	})
}

// sensitiveFunction is sensitive(VALUE): the value, never to be shown.
func sensitiveFunction() function.Function {
	return function.New(&function.Spec{
		Description: "sensitive(VALUE) is the value, kept out of everything that is shown or written.",
		Params: []function.Parameter{{
			Name: "value", Type: cty.DynamicPseudoType, AllowMarked: true, AllowNull: true, AllowDynamicType: true,
		}},
		Type: func(args []cty.Value) (cty.Type, error) { return args[0].Type(), nil },
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			return args[0].Mark(sensitiveMark{}), nil
		},
	})
}

// read reads a file through the caller's reader or from the disk, and refuses
// what is too large.
func (in Inputs) read(path string) ([]byte, error) {
	read := in.ReadFile
	if read == nil {
		read = readFile
	}
	src, err := read(path)
	if err != nil {
		return nil, err
	}
	if len(src) > maxFileBytes {
		return nil, fmt.Errorf("%s has more than %d bytes, the most that is read", path, maxFileBytes)
	}
	return src, nil
}

// readFile reads a regular file of bounded size from the disk.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file but %s", path, fileKind(info.Mode()))
	}
	if info.Size() > maxFileBytes {
		return nil, fmt.Errorf("%s has %d bytes; the most that is read is %d", path, info.Size(), maxFileBytes)
	}
	return os.ReadFile(path)
}

func fileKind(mode os.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&os.ModeNamedPipe != 0:
		return "a pipe"
	case mode&os.ModeDevice != 0:
		return "a device"
	}
	return "something else"
}
