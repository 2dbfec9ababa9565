#!/usr/bin/env bash
# Installs what scripts/check-deploy.sh needs into .tools, at fixed versions: PyYAML, Prometheus with promtool, Helm,
# kubeconform with schemas, the reader of Docker Compose. Names of some of these as arguments: those alone.
# Needs Python 3, Go, and apt-get for Prometheus unless it is on the PATH.
set -euo pipefail
cd "$(dirname "$0")/.."

pyyaml=6.0.3
helm=v3.22.0
kubeconform=v0.8.0
kubernetes=v1.37.2
prometheus_operator=v0.85.0
keda=v2.21.0
compose=v2.9.1
bin=$PWD/.tools/bin
mkdir -p "$bin"

# Runs the rest of its arguments unless this part was installed in this version.
unless_there() {
  local part=$1 version=$2 since=$SECONDS
  shift 2
  if [ "$(cat ".tools/deploy-$part.installed" 2> /dev/null)" = "$version" ]; then return; fi
  echo "installing $part $version into .tools"
  "$@"
  echo "$version" > ".tools/deploy-$part.installed"
  echo "installed $part in $((SECONDS - since)) s"
}

install_python() {
  python3 -m venv .tools/deploy-python
  .tools/deploy-python/bin/pip install --quiet --disable-pip-version-check "pyyaml==$pyyaml"
}

# From the distribution's package, without installing it: it would start a service.
install_prometheus() {
  local tool
  if command -v promtool > /dev/null && command -v prometheus > /dev/null; then
    for tool in promtool prometheus; do ln -sf "$(command -v "$tool")" "$bin/$tool"; done
    return
  fi
  command -v apt-get > /dev/null || {
    echo "no promtool and prometheus on the PATH, and no apt-get to get them from" >&2
    exit 1
  }
  rm -rf .tools/prometheus
  mkdir -p .tools/prometheus
  (
    cd .tools/prometheus
    # The lists of packages may be missing or old.
    if ! apt-get download -qq prometheus 2> /dev/null; then
      apt-get update -qq
      apt-get download -qq prometheus
    fi
    dpkg -x prometheus_*.deb .
    rm prometheus_*.deb
  )
  for tool in promtool prometheus; do ln -sf "../prometheus/usr/bin/$tool" "$bin/$tool"; done
}

install_helm() { GOBIN=$bin go install -ldflags="-s -w" "helm.sh/helm/v3/cmd/helm@$helm"; }

install_kubeconform() {
  GOBIN=$bin go install -ldflags="-s -w" "github.com/yannh/kubeconform/cmd/kubeconform@$kubeconform"
}

# From the OpenAPI document in the sources of Kubernetes, and the definitions in those of two operators.
install_schemas() {
  local crds
  crds=$(sources_of "github.com/prometheus-operator/prometheus-operator@$prometheus_operator")
  crds=$crds/example/prometheus-operator-crd/monitoring.coreos.com
  .tools/deploy-python/bin/python3 scripts/deploy/schemas.py .tools/schemas \
    "$(sources_of "k8s.io/kubernetes@$kubernetes")/api/openapi-spec/swagger.json" \
    "${crds}_servicemonitors.yaml" "${crds}_prometheusrules.yaml" \
    "$(sources_of "github.com/kedacore/keda/v2@$keda")/config/crd/bases/keda.sh_scaledobjects.yaml"
}

# The folder of a Go module.
sources_of() {
  (cd "$(mktemp -d)" && go mod init sources 2> /dev/null && go mod download -json "$1") \
    | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p'
}

# The library by which the client of Docker Compose reads files, in the version that client 2.40 has. The client itself takes
# minutes to build.
install_compose() {
  local folder
  folder=$(mktemp -d)
  GOBIN=$folder go install -ldflags="-s -w" "github.com/compose-spec/compose-go/v2/cmd@$compose"
  mv "$folder/cmd" "$bin/compose-spec"
  rm -r "$folder"
}

[ $# -gt 0 ] || set -- python prometheus helm kubeconform schemas compose
for part in "$@"; do
  case $part in
    python) unless_there python "$pyyaml" install_python ;;
    prometheus) unless_there prometheus "of the distribution" install_prometheus ;;
    helm) unless_there helm "$helm" install_helm ;;
    kubeconform) unless_there kubeconform "$kubeconform" install_kubeconform ;;
    schemas) unless_there schemas "$kubernetes $prometheus_operator $keda" install_schemas ;;
    compose) unless_there compose "$compose" install_compose ;;
    *) echo "no such tool: $part" >&2; exit 2 ;;
  esac
done
