# Where the servers are: sourced by install.sh and serve.sh, which set `tools`.

find_redis() {
  command -v redis-server || ls "$tools/usr/bin/redis-server" 2> /dev/null || true
}

# The folder of initdb and postgres; Debian does not put them on the path.
find_postgres() {
  local folder
  for folder in $(ls -d /usr/lib/postgresql/*/bin "$tools"/usr/lib/postgresql/*/bin 2> /dev/null | sort -rV); do
    if [ -x "$folder/initdb" ]; then
      echo "$folder"
      return
    fi
  done
  if command -v initdb > /dev/null; then dirname "$(command -v initdb)"; fi
}
