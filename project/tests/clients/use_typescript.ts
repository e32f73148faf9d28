// Uses the types that openapi-typescript generates, as a client would.
import type { components, paths } from "./schema";

type Prediction = components["schemas"]["PredictionRead"];
type Page = paths["/predictions/"]["get"]["responses"]["200"]["content"]["application/json"];

export async function best(url: string, file: Blob): Promise<string | null> {
  const body = new FormData();
  body.append("file", file);
  const response = await fetch(`${url}/predictions/`, { method: "POST", body, headers: { Prefer: "wait=30" } });
  const prediction = (await response.json()) as Prediction;
  const page = (await (await fetch(`${url}/predictions/`)).json()) as Page;
  return page.some((one: Prediction) => one.id === prediction.id) ? (prediction.all_predictions?.[0]?.label ?? null) : null;
}
