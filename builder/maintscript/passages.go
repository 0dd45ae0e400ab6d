package maintscript

import "strings"

// passage is a piece of a certain script, word for word, and another that does the same without starting a program for
// each of some hundred lines.
type passage struct{ is, becomes string }

// passages are of packages of Debian 11 to 13.
func passages() []passage {
	return []passage{
		// ca-certificates.config, for each certificate: whether a line is among those of a variable (grep -F -x).
		{`   if (echo "$CERTS_DISABLED" | grep -F -q -x "$crt") > /dev/null 2>&1; then`, `   if ` + among("CERTS_DISABLED", "crt") + `; then`},
		{`   elif (echo "$CERTS_TRUST" | grep -F -q -x "$crt") > /dev/null 2>&1; then`, `   elif ` + among("CERTS_TRUST", "crt") + `; then`},
		// locales.postinst, for each locale that glibc knows: whether locale.gen had it, as it is or behind "# ". The names differ (sort -u).
		{`        echo "$SUPPORTED_LOCALES" | while read locale ; do
           if ! grep -q "^[# ]*$locale *\$" $LG; then 
             echo "# $locale" >> $LG
           fi
        done
`, `        eb_known=$(sed -n -e 's/ *$//' -e '/^[# ]*[^# ]/s/^[# ]*//p' $LG)
        echo "$SUPPORTED_LOCALES" | while read locale ; do
           if ! ` + among("eb_known", "locale") + `; then
             echo "# $locale" >> $LG
           fi
        done
`},
	}
}

// among is a condition: whether a variable's value is a line of another's.
func among(lines, line string) string {
	return "case \"\n$" + lines + "\n\" in *\"\n$" + line + "\n\"*) true ;; *) false ;; esac"
}

// quicken replaces passages of a script.
func quicken(script string) string {
	for _, p := range passages() {
		script = strings.ReplaceAll(script, p.is, p.becomes)
	}
	return script
}
