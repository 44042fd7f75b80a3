// What an app in Kotlin does: App DEVICE. Exits with 0 where everything was as it should be.
import deputy.*
import java.io.File
import kotlin.concurrent.thread
import kotlin.system.exitProcess
import kotlinx.coroutines.*

class Seen(val stopAfter: Int = -1, val then: () -> Unit = {}) : TextListener {
    val pieces = java.util.concurrent.CopyOnWriteArrayList<String>()
    var onThread: Thread? = null

    override fun onText(text: String): Boolean {
        pieces.add(text)
        onThread = Thread.currentThread()
        then()
        return pieces.size != stopAfter
    }
}

inline fun <reified E : Throwable> raises(call: () -> Unit): E {
    try {
        call()
    } catch (error: Throwable) {
        return error as? E ?: throw error
    }
    throw AssertionError("${E::class} was expected")
}

const val STORY = "Tell me a story about a fox."
val greedy = AnswerOptions(maxTokens = 12u, temperature = 0f)

fun main(args: Array<String>) {
    val options = EngineOptions(device = args[0])
    val info = modelInfo(options = options)
    check(info.architecture == "llama" && info.isRouted && info.memory.total > 5_000_000u)

    val bad = File.createTempFile("bad", ".gguf").apply { writeText("GGUF but not really") }
    val error = raises<DeputyException.File> { Engine.open(bad.path, options) }
    check(error.reason.contains(bad.name))
    bad.delete()
    raises<DeputyException.Memory> { Engine.open(options = options.copy(memoryLimit = 1000u)) }

    var progress = 0UL
    val engine = Engine.open(options = options, listener = object : LoadListener {
        override fun onProgress(done: ULong, total: ULong) { progress = done }
    })
    check(progress > 5_000_000u && engine.info().memory == info.memory)

    // Streams an answer, on another thread.
    val one = engine.conversation()
    val two = engine.conversation(ConversationOptions(system = "You are brief."))
    val seen = Seen()
    val paris = one.send("What is the capital of France?", seen, greedy)
    check(paris.text == "The capital of France is Paris." && paris.text == seen.pieces.joinToString(""))
    check(paris.stop == StopReason.EOS && seen.pieces.size > 2 && paris.firstTokenMs > 0)
    check(seen.onThread != Thread.currentThread())

    // Is stopped by the listener, cancelled from it; a listener that fails says how.
    val stopped = two.send(STORY, Seen(stopAfter = 3))
    check(stopped.stop == StopReason.CANCELLED && stopped.nTokens < 20u)
    val cancelled = one.send(STORY, Seen(then = { one.cancel() }))
    check(cancelled.stop == StopReason.CANCELLED && cancelled.nTokens < 20u)
    val failed = raises<DeputyException.Callback> { one.send(STORY, Seen(then = { error("the window is gone") })) }
    check(failed.reason.contains("the window is gone"))

    // Two conversations at a time; the one knows nothing of the other.
    two.reset()
    two.add(Role.USER, "My name is Anna and I like pears.")
    two.add(Role.ASSISTANT, "Nice to meet you, Anna!")
    var rome = ""
    var anna = ""
    val threads = listOf(
        thread { rome = one.send("What is the capital of Italy?", options = greedy).text },
        thread { anna = two.send("What is my name?", options = greedy).text },
    )
    threads.forEach { it.join() }
    check("Rome" in rome && "Anna" in anna) { "$rome $anna" }

    // A panic is an error.
    check("on purpose" in raises<DeputyException.Panic> { engine.testPanic() }.reason)

    // Held, given back, and on again; in a coroutine, whose end is the answer's.
    check(engine.pause())
    engine.trimMemory(Trim.WEIGHTS)
    engine.resume()
    runBlocking {
        check("Anna" in two.answer("What is my name?", options = greedy).text)
        val sees = Seen()
        val job = launch(Dispatchers.Default) { two.answer(STORY, sees) }
        while (sees.pieces.isEmpty()) delay(10)
        job.cancelAndJoin()
        delay(2000)
        val n = sees.pieces.size
        delay(500)
        check(sees.pieces.size == n) { "pieces after its coroutine was cancelled" }
        Engine.load(options = options).use { it.conversation().close() }
    }

    val device = engine.info().device
    one.close()
    engine.shutdown()
    raises<DeputyException.Closed> { two.send("Hello!") }
    raises<DeputyException.Closed> { engine.conversation() }
    two.close()
    engine.close()
    println("Kotlin on $device: everything as it should be")
    exitProcess(0)
}
