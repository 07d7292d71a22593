// One dashboard as a page, drawn by Grafana's own components: BigValue for tiles, TimeSeries for
// lines. Tables are plain HTML with Grafana's formats and colours. What to draw is in window.BOARD.

import { createTheme, FieldType, getDisplayProcessor, dateTime } from "@grafana/data";
import { BigValue, TimeSeries } from "@grafana/ui";
import { createRoot } from "react-dom/client";
import "uplot/dist/uPlot.min.css";

const WIDTH = 1600;
const ROW = 36;
const GAP = 8;
const HEAD = 30;
const theme = createTheme({ colors: { mode: "dark" } });
const { title, note, panels, answers, fromMs, toMs } = window.BOARD;
const timeRange = { from: dateTime(fromMs), to: dateTime(toMs), raw: { from: "", to: "" } };

function configure(panel, name) {
  const config = structuredClone(panel.fieldConfig.defaults);
  config.custom = { drawStyle: "line", spanNulls: false, axisPlacement: "auto", ...config.custom };
  config.color ??= { mode: panel.type === "timeseries" ? "palette-classic" : "thresholds" };
  for (const rule of panel.fieldConfig.overrides) {
    if (rule.matcher.options !== name) continue;
    for (const { id, value } of rule.properties) {
      const path = id.split(".");
      const last = path.pop();
      path.reduce((node, key) => (node[key] ??= {}), config)[last] = value;
    }
  }
  return config;
}

function makeField(panel, name, values, seriesIndex) {
  const config = configure(panel, name);
  const state = { displayName: name, seriesIndex };
  const field = { name, type: FieldType.number, values, config, state };
  field.display = getDisplayProcessor({ field, theme });
  return field;
}

function nameSeries(query, labels) {
  return (query.legendFormat || "").replace(/\{\{(\w+)\}\}/g, (_, label) => labels[label] ?? "");
}

function makeFrames(panel) {
  const frames = [];
  for (const query of panel.targets) {
    for (const series of answers[panel.id][query.refId]) {
      const name = nameSeries(query, series.metric);
      const times = series.values.map(([second]) => second * 1000);
      const numbers = series.values.map(([, text]) => { const value = Number(text); return Number.isFinite(value) ? value : null; });
      const time = { name: "Time", type: FieldType.time, values: times, config: {} };
      time.display = getDisplayProcessor({ field: time, theme });
      const value = makeField(panel, name, numbers, frames.length);
      frames.push({ refId: query.refId, fields: [time, value], length: times.length });
    }
  }
  return frames;
}

function Lines({ panel, width, height }) {
  const frames = makeFrames(panel);
  if (frames.length === 0) return <Nothing />;
  const { legend, tooltip } = panel.options;
  return (
    <TimeSeries
      {...{ frames, width, height, legend, timeRange, structureRev: 1, timeZone: "utc" }}
      options={{ legend, tooltip }}
    />
  );
}

function Tile({ panel, width, height }) {
  const [query] = panel.targets;
  const [series] = answers[panel.id][query.refId];
  if (series === undefined) return <Nothing />;
  const name = nameSeries(query, series.metric);
  const number = Number(series.value[1]);
  const value = makeField(panel, name, [number], 0).display(number);
  const { colorMode, graphMode, justifyMode = "auto", textMode = "auto" } = panel.options;
  const shown = textMode === "name" ? { ...value, text: name, suffix: "", title: undefined } : value;
  return (
    <BigValue
      {...{ theme, width, height, colorMode, graphMode, justifyMode }}
      textMode="value"
      value={shown}
    />
  );
}

function Table({ panel }) {
  const columns = panel.targets.map((query) => {
    const renames = panel.transformations.at(-1).options.renameByName;
    const name = renames[`Value #${query.refId}`];
    const cells = new Map(
      answers[panel.id][query.refId].map((series) => [series.metric.route, Number(series.value[1])]),
    );
    return { name, cells, field: makeField(panel, name, [...cells.values()], 0) };
  });
  const routes = [...new Set(columns.flatMap(({ cells }) => [...cells.keys()]))].sort();
  return (
    <table>
      <thead>
        <tr>{["Route", ...columns.map(({ name }) => name)].map((name) => <th key={name}>{name}</th>)}</tr>
      </thead>
      <tbody>
        {routes.map((route) => (
          <tr key={route}>
            <td>{route}</td>
            {columns.map((column) => <Cell key={column.name} column={column} route={route} />)}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Cell({ column, route }) {
  const { text, suffix = "", color } = column.field.display(column.cells.get(route));
  const coloured = column.field.config.custom.cellOptions?.type === "color-background";
  return <td style={coloured ? { background: color, color: "#111" } : {}}>{text + suffix}</td>;
}

function Nothing() {
  return <div className="nothing">no data</div>;
}

const KINDS = { stat: Tile, timeseries: Lines, table: Table };

function Panel({ panel }) {
  const { x, y, w, h } = panel.gridPos;
  const unit = WIDTH / 24;
  const [width, height] = [w * unit - GAP, h * ROW - GAP];
  const Kind = KINDS[panel.type];
  const bare = panel.type === "stat" ? 0 : 16;
  return (
    <section style={{ left: x * unit, top: y * ROW + 48, width, height }}>
      <h2>{panel.title}</h2>
      <Kind panel={panel} width={width - bare} height={height - HEAD - bare / 2} />
    </section>
  );
}

function Board() {
  const bottom = Math.max(...panels.map(({ gridPos }) => gridPos.y + gridPos.h));
  return (
    <main style={{ width: WIDTH, height: bottom * ROW + 48 }}>
      <h1>{title} <small>{note}</small></h1>
      {panels.map((panel) => <Panel key={panel.id} panel={panel} />)}
    </main>
  );
}

createRoot(document.getElementById("root")).render(<Board />);
