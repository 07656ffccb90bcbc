// The shipped dashboard as Grafana's own types describe it. check.mjs decides which version's `grafana/...` are.
//
// Grafana's `Panel` leaves open what depends on the plugin: `options`, `fieldConfig.defaults.custom`, `targets`. Here they are the
// plugins' own types. Everything is `Json<...>`, because the value of an enum is a plain text in a file.
import type * as schema from "grafana/schema";
import type * as stat from "grafana/panel/stat";
import type * as table from "grafana/panel/table";
import type * as timeseries from "grafana/panel/timeseries";
import type { Dataquery } from "@grafana/grafana-foundation-sdk/prometheus";
import type * as units from "@grafana/grafana-foundation-sdk/units";

/** A type as it is written to JSON: `StackingMode.Normal` is "normal". */
type Json<T> = T extends string ? (string extends T ? string : `${T}`)
  : T extends number | boolean | null | undefined ? T
  : T extends readonly (infer Item)[] ? Json<Item>[]
  : T extends object ? { [Key in keyof T]: Json<T[Key]> }
  : T;

/** Every unit that Grafana knows by name. */
type Unit = Exclude<(typeof units)[keyof typeof units], (...never: never[]) => unknown>;
/** `ReducerID` of @grafana/data, which is too big to be installed for two lists. */
type Calculation = "lastNotNull" | "last" | "firstNotNull" | "first" | "min" | "max" | "mean" | "median" | "sum" | "count" | "range" | "delta" | "diff";
/** `OrganizeFieldsTransformerOptions` of @grafana/data. */
interface Organize {
  excludeByName: Record<string, boolean>;
  includeByName?: Record<string, boolean>;
  indexByName?: Record<string, number>;
  renameByName: Record<string, string>;
}

type Target = Omit<Dataquery, "_implementsDataqueryVariant" | "refId" | "datasource"> & { refId: string; datasource: Prometheus };
interface Prometheus { type: "prometheus"; uid: "${datasource}" }

type Field<Custom> = Omit<schema.FieldConfig, "custom" | "unit"> & { unit: Unit; custom?: Custom };
/** One property of an override, by its id: a field option's name, or `custom.` and a name of the plugin's. */
type Property<Custom> =
  | { [Key in keyof schema.FieldConfig & string]-?: { id: Key; value: schema.FieldConfig[Key] } }[keyof schema.FieldConfig & string]
  | { [Key in keyof Custom & string]-?: { id: `custom.${Key}`; value: Custom[Key] } }[keyof Custom & string];
type Calculated<Options> = { [Key in keyof Options]: Key extends "calcs" ? Calculation[] : Key extends "legend" | "reduceOptions" ? Calculated<Options[Key]> : Options[Key] };

type PanelOf<Type extends string, Options, Custom> =
  Omit<schema.Panel, "type" | "options" | "fieldConfig" | "targets" | "transformations" | "datasource"> & Required<Pick<schema.Panel, "id" | "title" | "gridPos">> & {
    type: Type;
    datasource: Prometheus;
    options: Calculated<Options>;
    fieldConfig: { defaults: Field<Custom>; overrides: { matcher: schema.MatcherConfig; properties: Property<Custom>[] }[] };
    targets: Target[];
    transformations?: { id: "organize"; options: Organize }[];
  };

/** The panels by their `type`; a plugin that the dashboard begins to use gets a line here. */
interface Panels {
  row: schema.RowPanel & Required<Pick<schema.RowPanel, "title" | "gridPos">>;
  stat: PanelOf<"stat", stat.Options, never>;
  table: PanelOf<"table", table.Options, table.FieldConfig>;
  timeseries: PanelOf<"timeseries", timeseries.Options, timeseries.FieldConfig>;
}
export type Panel<Type extends keyof Panels> = Json<Panels[Type]>;

/** What Prometheus adds to an annotation query (`PrometheusAnnotationSupport` of @grafana/prometheus). */
interface Annotation { target?: Target; titleFormat?: string; textFormat?: string; tagKeys?: string; useValueForTime?: boolean }
/** What Grafana itself saves with a query variable, and its type leaves out (`QueryVariableModel` of @grafana/data). */
interface Variable { definition?: string }

/** All of it but the panels. */
export type Dashboard = Json<Omit<schema.Dashboard, "panels" | "annotations" | "templating"> & {
  annotations: { list: (Omit<schema.AnnotationQuery, "target"> & Annotation)[] };
  templating: { list: (schema.VariableModel & Variable)[] };
}>;
