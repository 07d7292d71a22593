// Reads a JSON list of custom resources from standard input, and writes a JSON list with a sentence on
// each: what its type's own schema refuses, or an empty string. k8s/custom_resources.py runs it.
import * as keda from "@kubernetes-models/keda/keda.sh/v1alpha1";
import * as prometheus from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";
import * as gateway from "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1";
import { readFileSync } from "node:fs";

const kinds = {
  ScaledObject: keda.ScaledObject,
  ServiceMonitor: prometheus.ServiceMonitor,
  PrometheusRule: prometheus.PrometheusRule,
  HTTPRoute: gateway.HTTPRoute,
  GRPCRoute: gateway.GRPCRoute,
};

function judge(resource) {
  try {
    new kinds[resource.kind](resource).validate();
    return "";
  } catch (error) {
    return error.message || String(error);
  }
}

const resources = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(resources.map(judge)));
