package config

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"maps"
	"slices"
)

// With gives the settings with those in force that a table of another file has,
// where neither the command line nor the environment says otherwise: an account,
// a profile. The table has keys of the given settings only, and those of need
// must be in it.
func (v *Values) With(path, table string, settings []Setting, need ...string) (*Values, error) {
	f, err := readFile(path)
	if errors.Is(err, iofs.ErrNotExist) {
		err = fmt.Errorf("%s: no such file", path)
	}
	if err != nil {
		return nil, configError(err)
	}
	keys, ok := f.top[table].(map[string]any)
	if !ok {
		return nil, configError(fmt.Errorf("%s: [%s]: no such table", path, table))
	}
	if err := f.onlyHas(table, settings); err != nil {
		return nil, configError(err)
	}
	out := *v
	out.byName = maps.Clone(v.byName)
	for _, s := range settings {
		old := v.byName[s.Name]
		if raw, has := keys[s.Name]; !has || raw == nil || old != nil && (old.source.kind == "flag" || old.source.kind == "environment") {
			if old == nil {
				out.byName[s.Name] = defaultValue(s)
			}
			continue
		}
		if out.byName[s.Name], err = f.value(table, s); err != nil {
			return nil, err
		}
	}
	for _, name := range need {
		if out.String(name) == "" {
			return nil, configError(fmt.Errorf("%s:%d: [%s]: %s is missing", path, f.line(table, ""), table, name))
		}
	}
	return &out, nil
}

// onlyHas finds keys of a table that are no settings.
func (f *file) onlyHas(table string, settings []Setting) error {
	keys := f.top[table].(map[string]any)
	for _, key := range sortedKeys(keys) {
		if !slices.ContainsFunc(settings, func(s Setting) bool { return s.Name == key }) {
			return f.fault(table, key, "no such key")
		}
	}
	return nil
}

// value reads one setting of a table.
func (f *file) value(table string, s Setting) (*value, error) {
	texts, err := textsOf(f.top[table].(map[string]any)[s.Name], s)
	if err == nil {
		err = checkAll(s, texts)
	}
	if err != nil {
		return nil, configError(f.fault(table, s.Name, err.Error()))
	}
	val := &value{s, texts, source{"file", f.where(table, s.Name)}}
	return val, missing(val)
}

// Tables lists the tables of a file; none of one that is not there.
func Tables(path string) ([]string, error) {
	f, err := readFile(path)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, configError(err)
	}
	var tables []string
	for _, key := range sortedKeys(f.top) {
		if _, ok := f.top[key].(map[string]any); !ok {
			return nil, configError(f.fault("", key, "stands in no table"))
		}
		tables = append(tables, key)
	}
	return tables, nil
}
