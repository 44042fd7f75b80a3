// A conversation on the terminal: Chat [MODEL], or the model that is compiled in.
import deputy.Engine
import deputy.TextListener

object Printer : TextListener {
    override fun onText(text: String): Boolean {
        print(text)
        System.out.flush()
        return true // false would stop the answer.
    }
}

fun main(args: Array<String>) {
    Engine.open(args.firstOrNull()).use { engine ->
        println("${engine.info().model} on ${engine.info().device}")
        engine.conversation().use { conversation ->
            while (true) {
                print("\n> ")
                val line = readlnOrNull() ?: break
                val answer = conversation.send(line, Printer)
                print("\n(${answer.nTokens} tokens, %.1f a second)".format(answer.decodeTps))
            }
        }
    }
}
