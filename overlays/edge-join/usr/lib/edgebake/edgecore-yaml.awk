# Sets values in edgecore.yaml as keadm writes it: mappings in blocks, keys in any order.
# Arguments: a file of lines PATH=VALUE (modules.edged.nodeIP=""), then edgecore.yaml twice. What is not
# there is added to its mapping; without that mapping the exit code is 1.

FNR == 1 { file++; depth = 0 }

file == 1 {
	want[substr($0, 1, index($0, "=") - 1)] = substr($0, index($0, "=") + 1)
	next
}

{
	match($0, /^ */)
	indent = RLENGTH
	text = substr($0, indent + 1)
	colon = index(text, ":")
	iskey = colon > 0 && text !~ /^[#-]/
}

iskey {
	while (depth > 0 && indents[depth] >= indent)
		depth--
	indents[++depth] = indent
	keys[depth] = substr(text, 1, colon - 1)
	path = keys[1]
	for (i = 2; i <= depth; i++)
		path = path "." keys[i]
}

file == 2 {
	if (iskey)
		seen[path] = 1
	next
}

iskey && (path in want) {
	print substr($0, 1, indent) keys[depth] ": " want[path]
	next
}

{ print }

iskey {
	for (name in want)
		if (!(name in seen) && parent(name) == path)
			printf "%" (indent + 2) "s%s: %s\n", "", substr(name, length(path) + 2), want[name]
}

END {
	for (name in want)
		if (!(name in seen) && !(parent(name) in seen))
			exit 1
}

function parent(name) {
	sub(/\.[^.]*$/, "", name)
	return name
}
